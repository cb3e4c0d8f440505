"""A store that is away says so, soon, whatever is asked of it."""

import io
from datetime import UTC, datetime, timedelta

import pytest

from schemas.errors import StoreUnavailable
from tests.support.stores import closed_port, deaf_port, minio_store, read
from turnstream.object_store.base import ObjectStore
from turnstream.object_store.memory import MemoryStore


def broken_store(kind: str) -> ObjectStore:
    if kind == "minio":
        return minio_store(closed_port())
    store = MemoryStore()
    store.break_down()
    return store


@pytest.mark.parametrize("kind", ["memory", "minio"])
def test_every_call_to_a_store_that_is_away_says_so_soon(kind: str) -> None:
    store = broken_store(kind)
    calls = [
        lambda: store.put("k", b"x"),
        lambda: store.put("k", b"x", if_absent=True),
        lambda: store.put_stream("k", io.BytesIO(b"x"), size=1),
        lambda: store.get("k"),
        lambda: read(store.open("k")),
        lambda: store.stat("k"),
        lambda: list(store.list("k")),
        lambda: store.delete("k"),
        lambda: store.delete_prefix("k"),
        store.check,
    ]
    for call in calls:
        started = datetime.now(UTC)
        with pytest.raises(StoreUnavailable):
            call()
        assert datetime.now(UTC) - started < timedelta(seconds=5)
    store.close()


def test_a_server_that_never_answers_is_unavailable_in_time() -> None:
    with deaf_port() as address:
        store = minio_store(address, timeout=0.9)
        started = datetime.now(UTC)
        with pytest.raises(StoreUnavailable, match="in time"):
            store.get("k")
        assert datetime.now(UTC) - started < timedelta(seconds=5)
        store.close()

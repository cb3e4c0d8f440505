"""MinIO itself, in the situations that a double only imitates: gone, hanging, with other keys, its bucket removed."""

import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from schemas.errors import StoreUnavailable
from tests.support.real import REASON
from tests.support.servers import Minio
from tests.support.stores import REAL_MINIO, keys, minio_store
from tests.support.waiting import until
from turnstream.object_store import connect
from turnstream.object_store.minio import PART_SIZE, MinioStore
from turnstream.settings import Settings

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(REAL_MINIO not in os.environ, reason=REASON),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minio]:
    with Minio(tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture
def store(server: Minio) -> Iterator[MinioStore]:
    store = minio_store(server.address, server.KEYS, timeout=3)
    store.put("ready", b"x")
    yield store
    store.close()


def test_a_server_that_was_killed_is_used_again_and_has_all_that_was_stored(server: Minio, store: MinioStore):
    server.kill()
    with pytest.raises(StoreUnavailable, match=r"nothing answers there|connection failed"):
        store.put("while away", b"x")
    server.start()
    assert store.get("ready") == b"x"
    store.put("k", b"y", if_absent=True)
    assert keys(store) == ["k", "ready"]


def test_a_server_that_hangs_is_unavailable_in_time_and_used_again(server: Minio, store: MinioStore):
    server.hang()
    try:
        with pytest.raises(StoreUnavailable, match="in time"):
            store.get("ready")
    finally:
        server.go_on()
    assert store.get("ready") == b"x"


@pytest.mark.parametrize(
    ("access_key", "secret_key"),
    [("somebody", Minio.KEYS[1]), (Minio.KEYS[0], "not the secret"), ("", "")],
    ids=["unknown key", "wrong secret", "no key"],
)
def test_a_refusal_names_the_settings(server: Minio, store: MinioStore, access_key: str, secret_key: str):
    stranger = minio_store(server.address, (access_key, secret_key), bucket=store.bucket)
    calls = (
        lambda: stranger.put("k", b"x"),
        lambda: stranger.get("ready"),
        lambda: stranger.stat("ready"),
        lambda: list(stranger.list("")),
        stranger.check,
    )
    for call in calls:
        with pytest.raises(StoreUnavailable, match=r"MINIO_(ACCESS|SECRET)_KEY"):
            call()
    stranger.close()
    assert keys(store) == ["ready"]


def test_a_bucket_that_was_removed_is_made_again(server: Minio, store: MinioStore):
    store.delete("ready")
    store._client.remove_bucket(store.bucket)
    with pytest.raises(StoreUnavailable, match="made again"):
        store.put("k", b"x")
    store.put("k", b"x")
    assert keys(store) == ["k"]


def test_a_large_stream_that_breaks_leaves_no_parts(store: MinioStore):
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() >= 2 * PART_SIZE:
                raise OSError("the line went dead")
            return super().read(size)

    with pytest.raises(OSError, match="the line went dead"):
        store.put_stream("k", Broken(bytes(3 * PART_SIZE)))
    assert keys(store) == ["ready"]
    assert not store._client._list_multipart_uploads(store.bucket).uploads


def test_a_server_killed_under_a_large_write_keeps_nothing_of_it(server: Minio, store: MinioStore):
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() >= 2 * PART_SIZE:
                server.kill()
            return super().read(size)

    with pytest.raises(StoreUnavailable):
        store.put_stream("k", Slow(bytes(4 * PART_SIZE)), if_absent=True)
    server.start()
    assert keys(store) == ["ready"]
    store.put_stream("k", io.BytesIO(b"whole"), if_absent=True)
    assert store.get("k") == b"whole"


def test_calls_that_meet_the_restart_end_well_or_say_that_the_store_was_away(server: Minio, store: MinioStore):
    def write(number: int) -> str | None:
        try:
            store.put(f"w/{number:03}", b"%d" % number, if_absent=True)
        except StoreUnavailable:
            return None
        return f"w/{number:03}"

    with ThreadPoolExecutor(4) as pool:
        writing = [pool.submit(write, number) for number in range(200)]
        until(lambda: sum(each.done() for each in writing) > 50, 20)
        server.kill()
        server.start()
        acknowledged = [key for each in writing if (key := each.result()) is not None]
    there = keys(store, "w/")
    assert set(acknowledged) <= set(there)
    assert all(store.get(key) == b"%d" % int(key[2:]) for key in there)


def test_an_upload_goes_to_the_public_address_and_to_no_other(server: Minio, store: MinioStore):
    """The server has two names here, as behind a proxy; a signature is good for the host it was made for."""
    port = server.address.partition(":")[2]
    told = {"object_store": "minio", "minio_bucket": store.bucket, "minio_public_url": f"http://localhost:{port}"}
    named = {name.lower(): value for name, value in server.environment.items()}
    public = connect(Settings(_env_file=None, **told, **named))
    address = public.presign_put("uploads/a", expires=60)
    assert address is not None
    assert address.startswith(f"http://localhost:{port}/{store.bucket}/uploads/a?")
    assert httpx.put(address.replace("localhost", "127.0.0.1"), content=b"body").status_code == 403
    assert httpx.put(address, content=b"body").status_code == 200
    assert store.get("uploads/a") == b"body"
    store.delete("uploads/a")
    public.close()

"""The contract of a store over a bad line: what passes is waited out, what stays is said, and nothing half is read as whole."""

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import StoreUnavailable
from tests.support import faulty
from tests.support.faulty import Fault, FaultyProxy
from tests.support.real import REASON
from tests.support.servers import CONTAINERS, Minio
from tests.support.stores import REAL_MINIO, keys, minio_store, read
from tests.support.waiting import until
from turnstream.object_store.base import ObjectStore
from turnstream.object_store.minio import PART_SIZE, TRIES, MinioStore

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(REAL_MINIO not in os.environ, reason=REASON),
]
CONTENT = bytes(range(251)) * 8000
TIMEOUT = 3.0
"""Seconds of one call to the store here."""


@pytest.fixture(scope="module")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minio]:
    with Minio(tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture
def proxy(minio: Minio) -> Iterator[FaultyProxy]:
    with FaultyProxy(minio.address) as proxy:
        yield proxy


@pytest.fixture
def store(minio: Minio, proxy: FaultyProxy) -> Iterator[MinioStore]:
    store = minio_store(proxy.address, minio.KEYS, timeout=TIMEOUT)
    store.put("ready", CONTENT)
    proxy.requests.clear()
    yield store
    store.close()


CALLS: dict[str, Callable[[ObjectStore], object]] = {
    "put": lambda store: store.put("k", CONTENT),
    "put if absent": lambda store: store.put("new", CONTENT, if_absent=True),
    "put a stream": lambda store: store.put_stream("k", io.BytesIO(CONTENT), size=len(CONTENT)),
    "get": lambda store: store.get("ready"),
    "open": lambda store: read(store.open("ready", offset=100, length=1000)),
    "stat": lambda store: store.stat("ready"),
    "list": lambda store: list(store.list("rea")),
    "delete": lambda store: store.delete("absent"),
    "check": lambda store: store.check(),
}
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())


def cases(faults: dict[str, tuple[Any, str]]) -> pytest.MarkDecorator:
    """Each fault with the calls that are named beside it; all calls where none are."""
    together = [
        pytest.param(name, fault, CALLS[call], id=f"{name}, {call}")
        for name, (fault, calls) in faults.items()
        for call in (calls.split(", ") if calls else CALLS)
    ]
    return pytest.mark.parametrize(("name", "fault", "call"), together)


@cases(
    {
        "503": (faulty.says(503, "SlowDown"), ""),
        "500": (faulty.says(500, "InternalError"), "put if absent, list"),
        "429": (faulty.says(429, "TooManyRequests"), "put if absent, get"),
        "the answer is lost": (faulty.deaf_afterwards, "put if absent, get, delete"),
        "silence": (faulty.hang, "put if absent, get"),
    }
)
def test_what_goes_wrong_twice_is_waited_out(
    store: MinioStore, proxy: FaultyProxy, name: str, fault: Fault, call: Callable[[ObjectStore], object]
) -> None:
    with proxy.failing(faulty.first(TRIES - 1, fault)):
        call(store)
    assert store.get("ready") == CONTENT, name


@cases(
    {
        "SlowDown": (faulty.says(503, "SlowDown"), "put, put if absent, put a stream, get, open, list, delete, check"),
        "in time": (faulty.hang, "put if absent, get, stat"),
        "MINIO_ACCESS_KEY": (faulty.says(403, "InvalidAccessKeyId"), "put if absent, get, list"),
        "disks are full": (faulty.says(507, "XMinioStorageFull"), "put if absent, put a stream"),
    }
)
def test_what_stays_is_said_after_a_few_tries(
    store: MinioStore, proxy: FaultyProxy, name: str, fault: Fault, call: Callable[[ObjectStore], object]
) -> None:
    with proxy.failing(fault), pytest.raises(StoreUnavailable, match=name):
        call(store)
    assert len(proxy.requests) <= TRIES
    assert keys(store) == ["ready"]
    call(store)


def test_a_write_that_comes_too_late_is_there_whole_or_not_at_all(store: MinioStore, proxy: FaultyProxy) -> None:
    """Whoever was told that it failed may find it done, also later: that is why ends are claimed, and copies compared."""
    with proxy.failing(faulty.slow(TIMEOUT)), pytest.raises(StoreUnavailable, match="in time"):
        store.put("k", CONTENT)
    assert until(lambda: "k" in keys(store), 30)
    assert store.get("k") == CONTENT


@each_call
def test_a_refused_connection_is_said_and_the_store_is_used_again(
    store: MinioStore, proxy: FaultyProxy, call: Callable[[ObjectStore], object]
) -> None:
    with proxy.refusing(), pytest.raises(StoreUnavailable, match="nothing answers there"):
        call(store)
    call(store)


def test_a_slow_store_is_waited_for(store: MinioStore, proxy: FaultyProxy) -> None:
    with proxy.failing(faulty.slow(TIMEOUT / TRIES / 2)):
        assert store.get("ready") == CONTENT
    assert proxy.requests == ["GET"]


# Half an object


@pytest.mark.parametrize("after", [0, 1, 65_536, len(CONTENT) - 1])
def test_a_body_that_is_cut_is_never_taken_for_the_whole(store: MinioStore, proxy: FaultyProxy, after: int) -> None:
    with proxy.failing(faulty.first(TRIES - 1, faulty.cut(after))):
        assert store.get("ready") == CONTENT
    with proxy.failing(faulty.cut(0)), pytest.raises(StoreUnavailable, match="connection failed"):
        store.get("ready")


def test_a_stream_goes_on_however_often_it_is_cut(store: MinioStore, proxy: FaultyProxy) -> None:
    with proxy.failing(faulty.cut(200_000)):
        assert read(store.open("ready", offset=1000)) == CONTENT[1000:]
    assert len(proxy.requests) > len(CONTENT) // 200_000


def test_what_is_replaced_between_two_cuts_is_not_mixed(store: MinioStore, proxy: FaultyProxy) -> None:
    with proxy.failing(faulty.first(1, faulty.cut(200_000), "GET")), store.open("ready") as stream:
        stream.read(10)
        store.put("ready", CONTENT[::-1])
        with pytest.raises(StoreUnavailable, match="replaced while it was read"):
            stream.read()


def test_a_part_that_never_arrives_keeps_nothing_of_the_object(store: MinioStore, proxy: FaultyProxy) -> None:
    with proxy.failing(faulty.first(100, faulty.hang, "PUT")), pytest.raises(StoreUnavailable):
        store.put_stream("k", io.BytesIO(bytes(2 * PART_SIZE)))
    assert keys(store) == ["ready"]


WRITE = """
import io, sys
from tests.support.stores import minio_store
address, access, secret, bucket = sys.argv[1:]
minio_store(address, (access, secret), bucket=bucket, timeout=60).put("k", bytes(range(251)) * 8000)
"""


def test_a_writer_killed_in_the_midst_of_a_put_leaves_no_object(
    minio: Minio, store: MinioStore, proxy: FaultyProxy
) -> None:
    arrived = threading.Event()

    def told(exchange: faulty.Exchange) -> None:
        arrived.set()
        exchange.mended.wait(faulty.PATIENCE)

    with proxy.failing(faulty.first(1, told, "PUT")):
        writer = subprocess.Popen([sys.executable, "-c", WRITE, proxy.address, *minio.KEYS, store.bucket])
        assert arrived.wait(60)
        writer.send_signal(signal.SIGKILL)
        writer.wait(10)
    assert keys(store) == ["ready"]


# Keys that are changed while we run


@pytest.mark.skipif(CONTAINERS in os.environ, reason="a container keeps its keys")
def test_revoked_keys_are_said_and_good_again_when_they_come_back(tmp_path: Path) -> None:
    with Minio(tmp_path) as server:
        keys_before = server.KEYS
        store = minio_store(server.address, keys_before, timeout=TIMEOUT)
        store.put("k", b"before")
        for taken, setting in (((keys_before[0], "another-secret"), "SECRET"), (("somebody-else", "s" * 20), "ACCESS")):
            server.kill()
            server.KEYS = taken  # type: ignore[misc]
            server.start()
            for call in (lambda: store.put("k", b"x"), lambda: store.get("k")):
                with pytest.raises(StoreUnavailable, match=f"MINIO_{setting}_KEY"):
                    call()
        server.kill()
        server.KEYS = keys_before  # type: ignore[misc]
        server.start()
        assert store.get("k") == b"before"
        store.close()

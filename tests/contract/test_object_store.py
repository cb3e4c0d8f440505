"""What every object store must do, whatever is behind it.

memory, filesystem, and minio against moto's server; with TURNSTREAM_TEST_MINIO=host:port,access key,secret key also against a
real one.
"""

import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from schemas.errors import StoreUnavailable
from tests.support.stores import REAL_MINIO, S3Server, keys, minio_store, read, real_minio_store
from turnstream.object_store.base import BadKey, ObjectExists, ObjectNotFound, ObjectStore, exists
from turnstream.object_store.filesystem import FilesystemStore
from turnstream.object_store.memory import MemoryStore

MIB = 1 << 20
REAL = [pytest.param("minio-real", marks=pytest.mark.real)] * (REAL_MINIO in os.environ)
ADAPTERS = ["memory", "filesystem", "minio-moto", *REAL]


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture(params=ADAPTERS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    made = make_store(request, tmp_path)
    yield made
    for info in list(made.list("")):
        made.delete(info.key)
    made.close()


def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    match request.param:
        case "memory":
            return MemoryStore()
        case "filesystem":
            return FilesystemStore(tmp_path / "objects")
        case "minio-moto":
            return minio_store(request.getfixturevalue("s3_server").endpoint)
        case _:
            return real_minio_store()


# Writing and reading


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 1000], ids=["empty", "one byte", "256 kB"])
def test_what_was_put_comes_back(store: ObjectStore, data: bytes) -> None:
    store.put("jobs/a/audio", data)
    assert store.get("jobs/a/audio") == data
    assert read(store.open("jobs/a/audio")) == data
    assert store.stat("jobs/a/audio").size == len(data)


def test_a_second_put_replaces_the_first(store: ObjectStore) -> None:
    store.put("k", b"a longer first")
    store.put("k", b"second")
    assert store.get("k") == b"second"
    assert keys(store) == ["k"]


def test_if_absent_keeps_the_first(store: ObjectStore) -> None:
    store.put("runs/live/result.json", b"first", if_absent=True)
    with pytest.raises(ObjectExists):
        store.put("runs/live/result.json", b"second", if_absent=True)
    with pytest.raises(ObjectExists):
        store.put_stream("runs/live/result.json", io.BytesIO(b"third"), if_absent=True)
    assert store.get("runs/live/result.json") == b"first"


def test_a_key_is_absent_again_after_delete(store: ObjectStore) -> None:
    store.put("k", b"first", if_absent=True)
    store.delete("k")
    store.put("k", b"second", if_absent=True)
    assert store.get("k") == b"second"


def test_of_twelve_racing_writers_one_wins(store: ObjectStore) -> None:
    def write(body: bytes) -> bytes | None:
        try:
            store.put("leases/race", body, if_absent=True)
        except ObjectExists:
            return None
        return body

    bodies = [str(number).encode() for number in range(12)]
    with ThreadPoolExecutor(12) as pool:
        winners = [body for body in pool.map(write, bodies) if body is not None]
    assert [store.get("leases/race")] == winners


def test_racing_puts_without_a_condition_leave_one_whole_object(store: ObjectStore) -> None:
    bodies = [bytes([number]) * 100_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda body: store.put("k", body), bodies))
    assert store.get("k") in bodies


def test_writers_and_deleters_of_neighbours_do_not_disturb_each_other(store: ObjectStore) -> None:
    def come_and_go(number: int) -> None:
        for _ in range(20):
            store.put(f"pending/shared/{number}", b"x")
            store.delete(f"pending/shared/{number}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(come_and_go, range(4)))
    assert keys(store) == []


# Streams


class Choppy(io.RawIOBase):
    """A stream that gives a little less than it is asked for, and may fail after `fail_at` bytes."""

    def __init__(self, data: bytes, fail_at: int | None = None) -> None:
        self._stream = io.BytesIO(data)
        self._fail_at = fail_at

    def read(self, size: int = -1, /) -> bytes:
        if self._fail_at is not None and self._stream.tell() >= self._fail_at:
            raise OSError("the line went dead")
        return self._stream.read(max(1, size * 2 // 3) if size >= 0 else size)


@pytest.mark.parametrize("length", [0, 1, 5 * MIB, 5 * MIB + 1, 12 * MIB])
@pytest.mark.parametrize("known", [True, False], ids=["size known", "size unknown"])
def test_a_stream_is_stored_to_its_end(store: ObjectStore, length: int, known: bool) -> None:
    data = (bytes(range(251)) * (length // 251 + 1))[:length]
    store.put_stream("jobs/a/audio", Choppy(data), size=length if known else None)
    assert store.get("jobs/a/audio") == data


@pytest.mark.parametrize("length", [0, 1000, 6 * MIB])
@pytest.mark.parametrize("difference", [-1, 1], ids=["too long", "too short"])
def test_a_stream_of_another_length_keeps_nothing(store: ObjectStore, length: int, difference: int) -> None:
    if length + difference < 0:
        difference = 2
    with pytest.raises(StoreUnavailable):
        store.put_stream("jobs/a/audio", io.BytesIO(bytes(length)), size=length + difference)
    assert keys(store) == []


@pytest.mark.parametrize("fail_at", [0, 1, 11 * MIB])
def test_a_stream_that_raises_keeps_nothing_and_its_error_comes_through(store: ObjectStore, fail_at: int) -> None:
    with pytest.raises(OSError, match="the line went dead"):
        store.put_stream("jobs/a/audio", Choppy(bytes(12 * MIB), fail_at=fail_at))
    assert keys(store) == []


def test_a_stream_that_raises_leaves_the_object_before_it(store: ObjectStore) -> None:
    store.put("k", b"before")
    with pytest.raises(OSError, match="the line went dead"):
        store.put_stream("k", Choppy(bytes(MIB), fail_at=100))
    assert store.get("k") == b"before"


def test_a_large_stream_with_if_absent_keeps_the_first(store: ObjectStore) -> None:
    store.put_stream("k", io.BytesIO(b"a" * 6 * MIB), if_absent=True)
    with pytest.raises(ObjectExists):
        store.put_stream("k", io.BytesIO(b"b" * 6 * MIB), if_absent=True)
    assert store.get("k") == b"a" * 6 * MIB


# Ranges


@pytest.mark.parametrize("offset", [0, 1, 999, 1000, 1001, 5000])
@pytest.mark.parametrize("length", [None, 0, 1, 500, 5000])
def test_a_range_is_what_a_slice_is(store: ObjectStore, offset: int, length: int | None) -> None:
    data = bytes(number % 256 for number in range(1000))
    store.put("k", data)
    end = None if length is None else offset + length
    assert read(store.open("k", offset=offset, length=length)) == data[offset:end]


@pytest.mark.parametrize("length", [None, 0, 7])
def test_a_range_of_an_empty_object_is_empty(store: ObjectStore, length: int | None) -> None:
    store.put("k", b"")
    assert read(store.open("k", length=length)) == b""


def test_a_stream_is_read_in_pieces_and_may_be_left_early(store: ObjectStore) -> None:
    data = bytes(range(256)) * 4096
    store.put("k", data)
    with store.open("k") as stream:
        assert [stream.read(3), stream.read(5)] == [data[:3], data[3:8]]
    with store.open("k", offset=10, length=MIB // 2) as stream:
        assert b"".join(iter(lambda: stream.read(1000), b"")) == data[10 : 10 + MIB // 2]


# What is there


def test_stat_says_size_and_time(store: ObjectStore) -> None:
    store.put("k", b"12345")
    info = store.stat("k")
    assert (info.key, info.size) == ("k", 5)
    assert abs(datetime.now(UTC) - info.modified) < timedelta(minutes=1)
    assert [info.size for info in store.list("k")] == [5]


@pytest.mark.parametrize("key", ["absent", "a/b/absent", "there/below"])
def test_a_missing_object_is_said_to_be_missing(store: ObjectStore, key: str) -> None:
    store.put("there", b"x")
    for call in (store.get, store.stat, lambda key: read(store.open(key)), lambda key: read(store.open(key, length=0))):
        with pytest.raises(ObjectNotFound):
            call(key)
    assert not exists(store, key)
    store.delete(key)


def test_a_part_of_a_key_is_no_object(store: ObjectStore) -> None:
    store.put("jobs/a/audio", b"x")
    store.delete("jobs/a")
    with pytest.raises(ObjectNotFound):
        store.get("jobs/a")
    with pytest.raises(ObjectNotFound):
        store.stat("jobs")
    assert keys(store) == ["jobs/a/audio"]


def test_local_path_is_the_object_or_nothing(store: ObjectStore) -> None:
    store.put("jobs/a/audio", b"x")
    path = store.local_path("jobs/a/audio")
    assert path is None or path.read_bytes() == b"x"
    if path is not None:
        with pytest.raises(ObjectNotFound):
            store.local_path("jobs/a/absent")


def test_check_finds_a_store_that_works(store: ObjectStore) -> None:
    store.check()
    store.check()


# Listing

LISTED = sorted(
    ["a-b", "a.b", "a/b", "a/b-c", "a/c/d", "a/c-d", "a0", "aa/x", "b/é", "b/z", "b/Z", "b/ a", "b/😀", "b/ￚ"]
)


def test_keys_come_in_the_order_of_their_bytes(store: ObjectStore) -> None:
    for key in reversed(LISTED):
        store.put(key, b"")
    assert keys(store) == LISTED == sorted(LISTED, key=str.encode)


@pytest.mark.parametrize(
    "prefix", ["", "a", "a/", "a/b", "a/c", "a/c/", "a/c/d", "a/c/d/", "b/", "c", "a/b/c/d/", "aa/x"]
)
def test_a_prefix_may_end_anywhere(store: ObjectStore, prefix: str) -> None:
    for key in LISTED:
        store.put(key, b"")
    assert keys(store, prefix) == [key for key in LISTED if key.startswith(prefix)]


@pytest.mark.parametrize("prefix", ["", "a", "a/", "b/"])
@pytest.mark.parametrize("start_after", ["0", "a", "a/", "a/b", "a/b-", "a/c/d", "a/zzz", "a0", "b/z", "zzz"])
def test_a_listing_starts_after_a_key_that_need_not_be_there(store: ObjectStore, prefix: str, start_after: str) -> None:
    for key in LISTED:
        store.put(key, b"")
    expected = [key for key in LISTED if key.startswith(prefix) and key > start_after]
    assert keys(store, prefix, start_after) == expected


def test_more_keys_than_a_page_holds(store: ObjectStore) -> None:
    expected = [f"index/owner/{number:04d}" for number in range(1005)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda key: store.put(key, b""), expected))
    assert keys(store, "index/owner/") == expected
    assert keys(store, "index/", start_after=expected[2]) == expected[3:]
    assert store.delete_prefix("index/owner/0") == 1000
    assert keys(store) == expected[1000:]


def test_a_listing_outlives_what_is_deleted_meanwhile(store: ObjectStore) -> None:
    for key in ("a/1", "b/1", "c/1"):
        store.put(key, b"")
    listing = store.list("")
    assert next(listing).key == "a/1"
    store.delete("a/1")
    store.delete("b/1")
    assert [info.key for info in listing][-1] == "c/1"


# Removing


def test_delete_prefix_removes_what_begins_with_it_and_nothing_else(store: ObjectStore) -> None:
    for key in ("jobs/a/audio", "jobs/a/runs/live/result.json", "jobs/ab/audio", "pending/a/live"):
        store.put(key, b"x")
    assert store.delete_prefix("jobs/a/") == 2
    assert store.delete_prefix("jobs/a/") == 0
    assert keys(store) == ["jobs/ab/audio", "pending/a/live"]


def test_delete_prefix_of_everything_is_refused(store: ObjectStore) -> None:
    store.put("k", b"x")
    with pytest.raises(BadKey):
        store.delete_prefix("")
    assert keys(store) == ["k"]


# Keys

BAD_KEYS = [
    "", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/../b", "./a", "a/./b", ".tmp/x", "a/.hidden", "a\\b", "a\0b",
    "a\nb", "a\x7fb", "\ud800", "x" * 256, "/".join(["x" * 200] * 6), "/etc/passwd", "..\\a",
]  # fmt: skip


@pytest.mark.parametrize("key", BAD_KEYS, ids=ascii)
def test_keys_that_are_no_plain_paths_are_refused_by_every_call(store: ObjectStore, key: str) -> None:
    calls = [
        lambda: store.put(key, b"x"),
        lambda: store.put(key, b"x", if_absent=True),
        lambda: store.put_stream(key, io.BytesIO(b"x")),
        lambda: store.get(key),
        lambda: read(store.open(key)),
        lambda: store.stat(key),
        lambda: store.delete(key),
    ]
    for call in calls:
        with pytest.raises(BadKey):
            call()
    assert keys(store) == []


@pytest.mark.parametrize("prefix", ["/", "../", "a/../b", "a//", ".", "a/.", "a\0", "a\\"], ids=ascii)
def test_prefixes_that_are_no_plain_paths_are_refused(store: ObjectStore, prefix: str) -> None:
    with pytest.raises(BadKey):
        list(store.list(prefix))
    with pytest.raises(BadKey):
        store.delete_prefix(prefix)


@pytest.mark.parametrize(
    "key", ["a b", "ä/😀", "x" * 255, "a+b%20c", "q?x=1&y=#z", "a:b@c=d,e;f!'()*", "'\"<&>"], ids=ascii
)
def test_unusual_keys_are_kept_as_they_are(store: ObjectStore, key: str) -> None:
    store.put(f"k/{key}", b"x")
    assert store.get(f"k/{key}") == b"x"
    assert keys(store, "k/") == [f"k/{key}"]
    assert store.delete_prefix("k/") == 1


def test_an_object_below_another_ones_key_is_kept_or_refused(store: ObjectStore) -> None:
    """S3 keeps both; a file system cannot, and says so."""
    both = not isinstance(store, FilesystemStore)
    store.put("p", b"1")
    for key in ("p/q", "p/q/r"):
        if both:
            store.put(key, b"2")
        else:
            with pytest.raises(BadKey):
                store.put(key, b"2")
    store.put("d/e", b"3")
    for if_absent in (False, True):
        if both:
            store.put("d", b"4", if_absent=if_absent)
            store.delete("d")
        else:
            with pytest.raises(BadKey):
                store.put("d", b"4", if_absent=if_absent)
    assert (store.get("p"), store.get("d/e")) == (b"1", b"3")


# Presigned uploads


def test_a_presigned_address_takes_the_object(store: ObjectStore) -> None:
    address = store.presign_put("uploads/a", expires=60)
    if address is None:
        assert isinstance(store, MemoryStore | FilesystemStore)
        return
    assert httpx.put(address, content=b"body").status_code == 200
    assert store.get("uploads/a") == b"body"


def test_a_presigned_address_is_good_for_its_key_only(store: ObjectStore, request: pytest.FixtureRequest) -> None:
    address = store.presign_put("uploads/a", expires=60)
    if address is None:
        return
    if "minio-moto" in request.node.name:
        pytest.skip("moto checks no signatures")
    assert httpx.put(address.replace("uploads/a", "uploads/b"), content=b"body").status_code == 403

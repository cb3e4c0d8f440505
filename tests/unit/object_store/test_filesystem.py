"""What is particular to objects that are files."""

import errno
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.errors import StoreUnavailable
from tests.support import limits
from turnstream.disk import REMEDIES
from turnstream.object_store.base import BadKey, ObjectNotFound
from turnstream.object_store.filesystem import TEMPORARIES, TEMPORARY_AGE, FilesystemStore


@pytest.fixture
def store(tmp_path: Path) -> FilesystemStore:
    return FilesystemStore(tmp_path / "objects")


def keys(store: FilesystemStore) -> list[str]:
    return [info.key for info in store.list("")]


def test_an_object_is_the_file_that_its_key_names(store: FilesystemStore) -> None:
    store.put("jobs/a/audio", b"x")
    assert store.local_path("jobs/a/audio") == store.root / "jobs/a/audio"
    assert (store.root / "jobs/a/audio").read_bytes() == b"x"


def test_objects_are_for_this_user_alone(store: FilesystemStore) -> None:
    assert store.root.stat().st_mode & 0o077 == 0


def test_another_process_sees_the_same_objects(store: FilesystemStore) -> None:
    store.put("a/b", b"x")
    again = FilesystemStore(store.root)
    assert keys(again) == ["a/b"]
    again.delete("a/b")
    assert keys(store) == []


def test_empty_directories_go_with_their_last_object(store: FilesystemStore) -> None:
    store.put("a/b/c/1", b"")
    store.put("a/2", b"")
    store.delete("a/b/c/1")
    assert [path.name for path in (store.root / "a").iterdir()] == ["2"]
    store.delete("a/2")
    assert [path.name for path in store.root.iterdir()] == [TEMPORARIES]


def test_what_a_crash_left_is_never_listed_and_goes_at_the_next_start(store: FilesystemStore) -> None:
    old, new = store.root / TEMPORARIES / "old", store.root / TEMPORARIES / "new"
    for path in (old, new):
        path.write_bytes(b"half an object")
    long_ago = time.time() - TEMPORARY_AGE - 1
    os.utime(old, (long_ago, long_ago))
    assert keys(store) == []
    FilesystemStore(store.root)
    assert (old.exists(), new.exists()) == (False, True)  # the new one may be another process's


def test_a_process_killed_while_it_writes_leaves_no_object(store: FilesystemStore) -> None:
    program = """
import os, sys
from pathlib import Path
from turnstream.object_store.filesystem import FilesystemStore
class Deadly:
    def __init__(self): self.left = 3
    def read(self, size):
        self.left -= 1
        if not self.left: os.kill(os.getpid(), 9)
        return bytes(size)
FilesystemStore(Path(sys.argv[1])).put_stream("k", Deadly())
"""
    ended = subprocess.run([sys.executable, "-c", program, store.root], timeout=30, check=False)
    assert ended.returncode == -9
    assert keys(store) == []
    assert [path.stat().st_size for path in (store.root / TEMPORARIES).iterdir()] == [2 << 20]


def test_a_failed_write_leaves_no_temporary_file(store: FilesystemStore) -> None:
    with pytest.raises(StoreUnavailable):
        store.put_stream("k", io.BytesIO(b"x"), size=2)
    store.put("k", b"x", if_absent=True)
    with pytest.raises(FileExistsError):
        store.put("k", b"x", if_absent=True)
    assert list((store.root / TEMPORARIES).iterdir()) == []


@pytest.mark.parametrize("target", ["outside", "inside"])
def test_symbolic_links_are_not_followed(store: FilesystemStore, tmp_path: Path, target: str) -> None:
    directory = tmp_path if target == "outside" else store.root / "real"
    directory.mkdir(exist_ok=True)
    (directory / "secret").write_bytes(b"secret")
    (store.root / "link").symlink_to(directory)
    (store.root / "file").symlink_to(directory / "secret")
    calls: list[Callable[[str], object]] = [
        store.get,
        store.stat,
        store.local_path,
        store.delete,
        lambda key: store.put(key, b"mine"),
    ]
    for key in ("link/secret", "file", "link/new"):
        for call in calls:
            with pytest.raises(BadKey, match="symbolic link"):
                call(key)
    with pytest.raises(BadKey, match="symbolic link"):
        list(store.list("link/"))
    assert [key for key in keys(store) if key != "real/secret"] == []
    assert (directory / "secret").read_bytes() == b"secret"


def test_the_root_itself_may_be_reached_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    store = FilesystemStore(tmp_path / "data" / "objects")
    store.put("k", b"x")
    assert (tmp_path / "disk" / "objects" / "k").read_bytes() == b"x"


# Failures of the system


def test_a_root_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreUnavailable, match="DATA_DIR"):
        FilesystemStore(tmp_path / "file" / "objects")


def test_a_root_that_is_gone_is_no_store_without_objects(store: FilesystemStore, tmp_path: Path) -> None:
    store.put("k", b"x")
    store.root.rename(tmp_path / "elsewhere")
    for call in (lambda: store.get("k"), lambda: store.stat("k"), lambda: store.put("k", b"x"), store.check):
        with pytest.raises(StoreUnavailable, match="is gone"):
            call()
    (tmp_path / "elsewhere").rename(store.root)
    assert store.get("k") == b"x"


def test_a_write_that_the_system_cuts_off_keeps_nothing(store: FilesystemStore) -> None:
    with limits.file_size(1 << 20), pytest.raises(StoreUnavailable, match="too large"):
        store.put("k", bytes(3 << 20))
    assert keys(store) == []
    assert list((store.root / TEMPORARIES).iterdir()) == []


@pytest.mark.parametrize("code", REMEDIES, ids=errno.errorcode.get)
def test_each_refusal_of_the_system_says_what_to_do(
    store: FilesystemStore, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StoreUnavailable) as caught:
        store.put("k", b"x")
    assert os.strerror(code) in caught.value.detail
    assert REMEDIES[code] in caught.value.detail
    assert str(store.root) in caught.value.detail
    monkeypatch.undo()
    assert list((store.root / TEMPORARIES).iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_of_another_user_is_unavailable(store: FilesystemStore) -> None:
    store.root.chmod(0o500)
    (store.root / TEMPORARIES).chmod(0o500)
    try:
        with pytest.raises(StoreUnavailable, match="this user may not write there"):
            store.check()
    finally:
        (store.root / TEMPORARIES).chmod(0o700)
        store.root.chmod(0o700)


def test_an_object_is_on_the_disk_before_it_has_its_name(
    store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order that outlasts a power cut: the bytes, the name, the directories."""
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(descriptor: int) -> None:
        paths = [store.root, *store.root.rglob("*")]
        synced = next(path for path in paths if os.path.samestat(path.stat(), os.fstat(descriptor)))
        is_temporary = synced.parent.name == TEMPORARIES
        events.append(f"sync {'the bytes' if is_temporary else synced.relative_to(store.root.parent)}")
        fsync(descriptor)

    def noted_replace(self: Path, target: Path) -> Path:
        events.append("name")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    store.put("a/b/k", b"x")
    assert events == ["sync the bytes", "name", "sync objects/a/b", "sync objects", "sync objects/a"]


def test_a_stream_passes_through_in_bounded_memory(store: FilesystemStore) -> None:
    import tracemalloc

    class Zeros:
        left = 64 << 20

        def read(self, size: int) -> bytes:
            count = min(size, self.left)
            self.left -= count
            return bytes(count)

    tracemalloc.start()
    try:
        store.put_stream("k", Zeros())  # type: ignore[arg-type]
        with store.open("k") as stream:
            while stream.read(1 << 20):
                pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert store.stat("k").size == 64 << 20
    assert peak < 8 << 20


def test_a_missing_object_has_no_path(store: FilesystemStore) -> None:
    with pytest.raises(ObjectNotFound):
        store.local_path("absent")


@pytest.mark.parametrize("if_absent", [False, True])
def test_a_directory_that_a_delete_takes_meanwhile_is_made_again(
    store: FilesystemStore, monkeypatch: pytest.MonkeyPatch, if_absent: bool
) -> None:
    owner, name = (os, "link") if if_absent else (Path, "replace")
    place = getattr(owner, name)
    taken: list[Path] = []

    def place_too_late(temporary: Path, path: Path) -> object:
        if not taken:
            path.parent.rmdir()
            taken.append(path.parent)
        return place(temporary, path)

    monkeypatch.setattr(owner, name, place_too_late)
    store.put("a/b/k", b"x", if_absent=if_absent)
    assert taken == [store.root / "a/b"]
    assert store.get("a/b/k") == b"x"

"""Objects as files below one directory: the store of a single machine.

Each object is the file that its key names; temporary files live in `.tmp` beside them. Two limits come from file systems: an
object cannot lie under another one's key (`p` and `p/q`: BadKey), and where names differ in case alone is forgotten, so do keys.
Symbolic links are never followed.
"""

import errno
import io
import os
import secrets
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NoReturn

from turnstream.disk import unavailable
from turnstream.object_store.base import BadKey, ObjectExists, ObjectInfo, ObjectNotFound, ObjectStore
from turnstream.object_store.keys import check_key, check_prefix
from turnstream.object_store.streams import CHUNK, Limited, Measured

TEMPORARIES = ".tmp"
TEMPORARY_AGE = 3600.0
"""Seconds after its last byte when a temporary file counts as left behind by a crash."""
_PLACING_TRIES = 100


class FilesystemStore(ObjectStore):
    def __init__(self, root: Path) -> None:
        """Makes `root` if absent, for this user alone. Raises StoreUnavailable where that cannot be done."""
        self.root = root.resolve()
        self._temporaries = self.root / TEMPORARIES
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._temporaries.mkdir(exist_ok=True)
            self._clean()
        except OSError as error:
            self._fail(error)

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        self.put_stream(key, io.BytesIO(data), size=len(data), if_absent=if_absent)

    def put_stream(self, key: str, stream: BinaryIO, *, size: int | None = None, if_absent: bool = False) -> None:
        path = self._path(key)
        source = Measured(stream, size)
        temporary = self._temporaries / secrets.token_hex(8)
        try:
            with self._writing(key):
                file = temporary.open("xb", buffering=0)
            with file:
                # Only what the file does is a failure of the store: what the stream raises is the caller's.
                for chunk in iter(lambda: source.read(CHUNK), b""):
                    with self._writing(key):
                        _write_all(file, chunk)
                with self._writing(key):
                    os.fsync(file.fileno())
            with self._writing(key):
                self._place(temporary, path, if_absent=if_absent)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def get(self, key: str) -> bytes:
        with self._reading(key):
            return self._path(key).read_bytes()

    @contextmanager
    def open(self, key: str, *, offset: int = 0, length: int | None = None) -> Generator[BinaryIO]:
        with self._reading(key):
            file = self._path(key).open("rb")
        with file:
            file.seek(offset)
            yield file if length is None else io.BufferedReader(Limited(file, length))

    def stat(self, key: str) -> ObjectInfo:
        with self._reading(key):
            return _info(key, self.local_path(key))

    def local_path(self, key: str) -> Path:
        path = self._path(key)
        if not path.is_file():
            with self._reading(key):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return path

    def list(self, prefix: str, *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        check_prefix(prefix)
        return self._walk(prefix[: prefix.rfind("/") + 1], prefix, start_after or "")

    def delete(self, key: str) -> None:
        path = self._path(key)
        with self._writing(key):
            if not path.is_file():
                return
            path.unlink(missing_ok=True)
            self._prune(path.parent)

    def _path(self, key: str) -> Path:
        check_key(key)
        path = self.root / key
        if os.path.realpath(path) != str(path):
            raise BadKey(f"{key!r} leads through a symbolic link")
        return path

    def _walk(self, directory: str, prefix: str, after: str) -> Iterator[ObjectInfo]:
        """The objects of a directory ("" or ending in a slash) in the order of whole keys. Holds the names of one directory
        a level in memory, nothing else."""
        for name in self._names(directory):
            key = directory + name
            if not key.startswith(prefix):
                continue
            if name.endswith("/"):
                if key > after or after.startswith(key):
                    yield from self._walk(key, prefix, after)
            elif key > after:
                with suppress(ObjectNotFound):  # deleted since
                    yield self.stat(key)

    def _names(self, directory: str) -> "list[str]":
        """Sorted with the slash of directories: that is where their keys come (`a-b` before `a/b`)."""
        path = self._path(directory[:-1]) if directory else self.root
        try:
            with os.scandir(path) as entries:
                return sorted(
                    entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name
                    for entry in entries
                    if not entry.name.startswith(".") and not entry.is_symlink()
                )
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self._fail(error)

    def _place(self, temporary: Path, path: Path, *, if_absent: bool) -> None:
        """Give the finished file its name, and make that outlast a power cut."""
        changed = [path.parent]
        for _ in range(_PLACING_TRIES):
            changed += _make_directory(path.parent)
            try:
                if if_absent:
                    os.link(temporary, path)
                else:
                    temporary.replace(path)
            except FileNotFoundError:  # a delete took the directory that had just become empty
                continue
            except FileExistsError:
                if path.is_dir():
                    raise IsADirectoryError(path) from None
                raise ObjectExists(path.relative_to(self.root)) from None
            for directory in changed:  # the first brings the others along on file systems with a journal
                _sync(directory)
            return
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))

    def _prune(self, directory: Path) -> None:
        while directory != self.root:
            try:
                directory.rmdir()
            except OSError:  # not empty, or another delete was first
                break
            directory = directory.parent
        _sync(directory)

    def _clean(self) -> None:
        for temporary in self._temporaries.iterdir():
            with suppress(FileNotFoundError):
                if temporary.stat().st_mtime < time.time() - TEMPORARY_AGE:
                    temporary.unlink()

    @contextmanager
    def _reading(self, key: str) -> Generator[None]:
        try:
            yield
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            if not self.root.is_dir():  # a disk that is away must not look like a store without objects
                self._fail(error)
            raise ObjectNotFound(key) from None
        except OSError as error:
            self._fail(error)

    @contextmanager
    def _writing(self, key: str) -> Generator[None]:
        try:
            yield
        except ObjectExists:
            raise
        except (IsADirectoryError, NotADirectoryError):
            raise BadKey(f"{key!r}: one object cannot lie under another one's key here") from None
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> NoReturn:
        raise unavailable("objects are kept", self.root, error) from error


def _info(key: str, path: Path) -> ObjectInfo:
    found = path.stat()
    return ObjectInfo(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def _write_all(file: io.FileIO, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def _make_directory(directory: Path) -> list[Path]:
    """With those above it; returns the directories that have a new entry."""
    try:
        directory.mkdir()
    except FileExistsError:
        return []
    except FileNotFoundError:
        return [*_make_directory(directory.parent), *_make_directory(directory)]
    return [directory.parent]


def _sync(directory: Path) -> None:
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:  # a delete took it: nothing there to keep
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

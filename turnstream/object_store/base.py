"""The port to an object store: bytes under keys, written whole or not at all."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from schemas.errors import StoreUnavailable


class ObjectNotFound(LookupError):
    """There is no object under that key."""


class ObjectExists(FileExistsError):
    """`if_absent` was asked for and the key is taken."""


class BadKey(ValueError):
    """The key is empty, absolute, has empty or dotted parts, or leaves the store in another way."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    key: str
    size: int
    modified: datetime
    """With a time zone."""


class ObjectStore(ABC):
    """Blocking calls, safe to use from several threads, each bounded in time.

    A write is atomic: a reader sees the whole object or none of it. Each call may raise BadKey, and StoreUnavailable
    where the store does not answer, is full, or refuses; a write that raised it may still come about, also later.
    """

    @abstractmethod
    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Write an object. Raises ObjectExists where `if_absent` and the key is taken."""

    @abstractmethod
    def put_stream(self, key: str, stream: BinaryIO, *, size: int | None = None, if_absent: bool = False) -> None:
        """Write what `stream` yields until its end, in bounded memory; `size` in bytes, None where it is not known.

        A stream of another length than `size` raises StoreUnavailable; then, and where the stream itself raises, nothing is kept.
        """

    @abstractmethod
    def get(self, key: str) -> bytes:
        """Raises ObjectNotFound."""

    @abstractmethod
    def open(self, key: str, *, offset: int = 0, length: int | None = None) -> AbstractContextManager[BinaryIO]:
        """A stream over a range of an object; a range beyond the end is empty. Raises ObjectNotFound."""

    @abstractmethod
    def stat(self, key: str) -> ObjectInfo:
        """Raises ObjectNotFound."""

    @abstractmethod
    def list(self, prefix: str, *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """Objects whose keys begin with `prefix`, in the order of their keys, fetched in pages as they are read."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; one that does not exist is no error."""

    def delete_prefix(self, prefix: str) -> int:
        """Remove all objects whose keys begin with `prefix`; returns how many. An empty prefix is a BadKey."""
        if not prefix:
            raise BadKey("an empty prefix would remove everything")
        keys = [info.key for info in self.list(prefix)]
        for key in keys:
            self.delete(key)
        return len(keys)

    def presign_put(self, key: str, *, expires: float) -> str | None:
        """An address that takes one PUT of this object for `expires` seconds; None where the adapter has no addresses."""
        del key, expires
        return None

    def local_path(self, key: str) -> Path | None:
        """The object as a file of this machine, to be read only; None where the adapter has no files. Raises ObjectNotFound."""
        del key
        return None

    def check(self) -> None:
        """Whether the store can be written: raises StoreUnavailable with what to do where it cannot."""
        try:
            self.put(CHECK_KEY, b"ok")
        except OSError as error:
            raise StoreUnavailable(str(error)) from error

    def close(self) -> None:  # noqa: B027 - most adapters have nothing to give back
        """Give back connections. The store is not used afterwards."""


CHECK_KEY = "health/check"


def exists(store: ObjectStore, key: str) -> bool:
    try:
        store.stat(key)
    except ObjectNotFound:
        return False
    return True

"""The object store's public twin: everything in this process's memory, for tests and for trying things out."""

import io
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import BinaryIO

from schemas.errors import StoreUnavailable
from turnstream.object_store.base import ObjectExists, ObjectInfo, ObjectNotFound, ObjectStore
from turnstream.object_store.keys import check_key, check_prefix
from turnstream.object_store.streams import CHUNK, Measured


class MemoryStore(ObjectStore):
    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, datetime]] = {}
        self._lock = threading.Lock()
        self._broken = False

    def break_down(self) -> None:
        """From now on every call raises StoreUnavailable, as if the store were away."""
        self._broken = True

    def mend(self) -> None:
        """Back again, with everything that was stored."""
        self._broken = False

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        check_key(key)
        with self._opened() as objects:
            if if_absent and key in objects:
                raise ObjectExists(key)
            objects[key] = (bytes(data), datetime.now(UTC))

    def put_stream(self, key: str, stream: BinaryIO, *, size: int | None = None, if_absent: bool = False) -> None:
        check_key(key)
        source = Measured(stream, size)
        self.put(key, b"".join(iter(lambda: source.read(CHUNK), b"")), if_absent=if_absent)

    def get(self, key: str) -> bytes:
        return self._object(key)[0]

    @contextmanager
    def open(self, key: str, *, offset: int = 0, length: int | None = None) -> Generator[BinaryIO]:
        data = self.get(key)
        end = None if length is None else offset + length
        yield io.BytesIO(data[offset:end])

    def stat(self, key: str) -> ObjectInfo:
        data, modified = self._object(key)
        return ObjectInfo(key, len(data), modified)

    def list(self, prefix: str, *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        check_prefix(prefix)
        return self._list(prefix, start_after or "")

    def _list(self, prefix: str, after: str) -> Iterator[ObjectInfo]:
        with self._opened() as objects:
            keys = sorted(key for key in objects if key.startswith(prefix) and key > after)
        for key in keys:
            try:
                yield self.stat(key)
            except ObjectNotFound:  # deleted since
                continue

    def delete(self, key: str) -> None:
        check_key(key)
        with self._opened() as objects:
            objects.pop(key, None)

    def _object(self, key: str) -> tuple[bytes, datetime]:
        check_key(key)
        with self._opened() as objects:
            try:
                return objects[key]
            except KeyError:
                raise ObjectNotFound(key) from None

    @contextmanager
    def _opened(self) -> Generator[dict[str, tuple[bytes, datetime]]]:
        with self._lock:
            if self._broken:
                raise StoreUnavailable("the store in memory was broken down")
            yield self._objects

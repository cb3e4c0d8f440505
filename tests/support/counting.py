"""An object store that remembers what was asked of it: on a store behind a network each call costs a millisecond or two."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO

from turnstream.object_store.base import ObjectInfo
from turnstream.object_store.memory import MemoryStore


class CountingStore(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[str, str]] = []

    def calls(self, job_id: str) -> list[str]:
        """Those about one job, in order, such as `put jobs/ID/audio`."""
        return [f"{call} {key.replace(job_id, 'ID')}" for call, key in self._calls if job_id in key]

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        self._calls.append(("put", key))
        super().put(key, data, if_absent=if_absent)

    def get(self, key: str) -> bytes:
        self._calls.append(("get", key))
        return super().get(key)

    def open(self, key: str, *, offset: int = 0, length: int | None = None) -> AbstractContextManager[BinaryIO]:
        self._calls.append(("open", key))
        return super().open(key, offset=offset, length=length)

    def stat(self, key: str) -> ObjectInfo:
        self._calls.append(("stat", key))
        return super().stat(key)

    def list(self, prefix: str, *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        self._calls.append(("list", prefix))
        return super().list(prefix, start_after=start_after)

    def delete(self, key: str) -> None:
        self._calls.append(("delete", key))
        super().delete(key)

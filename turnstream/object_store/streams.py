"""Streams that know where they must end."""

import io
from typing import TYPE_CHECKING, BinaryIO

from schemas.errors import StoreUnavailable

if TYPE_CHECKING:
    from typing_extensions import Buffer  # collections.abc has it from Python 3.12 on

CHUNK = 1 << 20
"""Bytes moved at a time."""


class Measured(io.RawIOBase):
    """A stream that fails where it does not hold exactly `size` bytes. Read it to its end: the last read is the proof."""

    def __init__(self, stream: BinaryIO, size: int | None) -> None:
        self._stream = stream
        self._size = size
        self._count = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self._count += len(data)
        if self._size is not None and (self._count > self._size or (not data and self._count < self._size)):
            raise StoreUnavailable(f"the stream holds {self._count} bytes at least, {self._size} were announced")
        return data


class Limited(io.RawIOBase):
    """At most `length` bytes of a stream."""

    def __init__(self, stream: BinaryIO, length: int) -> None:
        self._stream = stream
        self._left = length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "Buffer", /) -> int:
        view = memoryview(buffer)
        data = self._stream.read(min(len(view), self._left))
        view[: len(data)] = data
        self._left -= len(data)
        return len(data)

"""Which records of a partition are finished: all before one offset, and some beyond it.

Kafka keeps the offset of a group's commit, and with it a text. The finished offsets beyond the committed one are written into
that text as a bitmap, so that jobs may end out of order, each committed at once.
"""

import binascii
import zlib
from base64 import b64decode, b64encode
from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

METADATA_LIMIT = 4096
"""Characters of text that a broker takes with a commit, by default (`offset.metadata.max.bytes`)."""
_CHECKSUM = 4
SPAN = (METADATA_LIMIT // 4 * 3 - _CHECKSUM) * 8
"""Offsets, from the committed one on, of which the text can tell."""


@dataclass(frozen=True, slots=True)
class Finished:
    frontier: int = 0
    """All before it is finished: the offset to commit."""
    beyond: int = 0
    """Bit i is set where the offset `frontier + i` is finished."""

    def __contains__(self, offset: object) -> bool:
        return isinstance(offset, int) and (offset < self.frontier or self.beyond >> (offset - self.frontier) & 1 == 1)

    def including(self, offsets: Collection[int]) -> Self:
        beyond = self.beyond
        for offset in offsets:
            if offset >= self.frontier:
                beyond |= 1 << (offset - self.frontier)
        return type(self)(self.frontier, beyond)

    def moved(self, frontier: int) -> Self:
        """With all before another offset finished, too; never back."""
        ahead = max(0, frontier - self.frontier)
        return type(self)(self.frontier + ahead, self.beyond >> ahead)

    @property
    def fits(self) -> bool:
        return self.beyond.bit_length() <= SPAN

    @property
    def metadata(self) -> str:
        """What `read` makes the same value of, in METADATA_LIMIT characters at most if it fits; empty for nothing beyond."""
        if not self.beyond:
            return ""
        bitmap = self.beyond.to_bytes((self.beyond.bit_length() + 7) // 8, "little")
        return b64encode(_checksum(self.frontier, bitmap) + bitmap).decode()

    @classmethod
    def read(cls, frontier: int, metadata: str) -> Self:
        """A text that somebody else wrote, or that is damaged, says nothing: what it might have said is done again."""
        try:
            raw = b64decode(metadata, validate=True)
        except (binascii.Error, ValueError):
            return cls(frontier)
        checksum, bitmap = raw[:_CHECKSUM], raw[_CHECKSUM:]
        if checksum != _checksum(frontier, bitmap):
            return cls(frontier)
        return cls(frontier, int.from_bytes(bitmap, "little"))


def _checksum(frontier: int, bitmap: bytes) -> bytes:
    """Of the offset, too: a bitmap beside any other means other records."""
    return zlib.crc32(bitmap, zlib.crc32(frontier.to_bytes(8, "big"))).to_bytes(_CHECKSUM, "big")

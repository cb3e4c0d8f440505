"""What a job keeps of its recording for further runs of it, which then want neither the recording nor the networks.

The format: MAGIC, SHA-256 of the origin and of the rest, length of the header (four bytes, little-endian), header (JSON),
packed analyses.
"""

import hashlib
import struct
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Self

from pydantic import Field, NonNegativeInt, ValidationError

from processor.audio import MAX_TRACKS, Waveform
from processor.engines.diarize.analysis import Analysis
from schemas.base import Value
from schemas.jobs import Channels, Mode

MAGIC = b"turnstream-analysis-1\n"
"""Another number for another format."""
_DIGEST, _LENGTH = hashlib.sha256().digest_size, struct.Struct("<I")


class Refused(ValueError):
    """These bytes are damaged, not of this format, or of another origin."""


class AudioFacts(Value):
    """What the result tells of the recording."""

    duration: float
    sample_rate: int
    channels: int
    warnings: list[str]

    @classmethod
    def of(cls, waveform: Waveform) -> Self:
        return cls(
            duration=waveform.duration,
            sample_rate=waveform.source_rate,
            channels=waveform.source_channels,
            warnings=waveform.warnings,
        )


class Header(Value):
    audio: AudioFacts
    mode: Mode
    fell_back: bool
    near_ties: int = Field(ge=0)
    shapes: list[tuple[int, int, int, int]] = Field(min_length=1, max_length=MAX_TRACKS)
    sizes: list[NonNegativeInt] = Field(description="bytes of each packed analysis")


@dataclass(frozen=True, slots=True)
class Kept:
    """All that everything after the networks starts from."""

    audio: AudioFacts
    mode: Mode
    """In which the voice prints were computed."""
    fell_back: bool
    """Whether fast was tried before, and looked risky."""
    near_ties: int
    """Frames in which the segmentation was undecided, counted in each window that has them."""
    analyses: tuple[Analysis, ...]
    """Of each track."""

    def packed(self, origin: str) -> bytes:
        """`origin` says whose it is, and what computed it: who names another one does not get it back."""
        parts = [analysis.packed() for analysis in self.analyses]
        header = Header(
            audio=self.audio,
            mode=self.mode,
            fell_back=self.fell_back,
            near_ties=self.near_ties,
            shapes=[analysis.shape for analysis in self.analyses],
            sizes=[len(part) for part in parts],
        )
        head = header.model_dump_json().encode()
        body = b"".join([_LENGTH.pack(len(head)), head, *parts])
        return MAGIC + _digest(origin, body) + body

    @classmethod
    def unpacked(cls, data: bytes, origin: str, window: tuple[int, int, int]) -> "Kept":
        """The inverse of `packed`, to the last bit, of windows of this shape (frames, speakers, dimension). Raises Refused.

        What the data say of their size is not believed: it takes memory in proportion to what is there.
        """
        start = len(MAGIC) + _DIGEST
        digest, body = data[len(MAGIC) : start], memoryview(data)[start:]
        if not data.startswith(MAGIC) or _digest(origin, body) != digest:
            raise Refused("damaged, not of this format, or of another origin")
        try:
            (length,) = _LENGTH.unpack_from(body)
            head, parts = body[_LENGTH.size :][:length], body[_LENGTH.size + length :]
            header = Header.model_validate_json(bytes(head))
            if any(shape[0] < 1 or shape[1:] != window for shape in header.shapes) or sum(header.sizes) != len(parts):
                raise Refused(f"of shapes {header.shapes}, with {len(parts)} bytes")
            spans = pairwise(accumulate(header.sizes, initial=0))
            analyses = tuple(
                Analysis.unpacked(bytes(parts[start:end]), shape)
                for (start, end), shape in zip(spans, header.shapes, strict=True)
            )
        except (ValidationError, ValueError, struct.error) as error:
            raise Refused(f"not what it says it is: {error}") from error
        return cls(header.audio, header.mode, header.fell_back, header.near_ties, analyses)


def _digest(origin: str, body: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(f"{origin}\n".encode())
    digest.update(body)
    return digest.digest()


def fingerprint(revision: str, device: str, mode: Mode, channels: Channels, *, tf32: bool) -> str:
    """What decides what the networks say of a recording."""
    parts = [revision, device, mode, channels, "tf32" if tf32 else "fp32"]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

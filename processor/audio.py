"""Any recording -> waveforms at 16 kHz, decoded once and in bounded memory: one of its mix, or one of each channel."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from processor.resampling import BLOCK, resampled
from processor.spool import SAMPLE_RATE, Samples, Sound, Spool
from schemas.errors import AudioTooLong, InvalidRequest, JobCancelled
from turnstream.media import Recording, open_audio

__all__ = ["DAMAGED", "SAMPLE_RATE", "Samples", "Sound", "Waveform", "decode", "split"]

DAMAGED = "audio_damaged"
"""Warning: parts of the recording could not be decoded, or are missing at its end."""
MAX_TRACKS = 8
"""Channels that can be told apart."""

# Seconds (and a thousandth of the duration) that the end of a stream may lack: encoders round to their frames.
_MISSING = 0.2

Cancelled = Callable[[], bool]
Tell = Callable[[float], None]
"""Takes the share that is done, 0 to 1."""


@dataclass
class Waveform:
    """A decoded recording, or a channel of one."""

    samples: Sound
    source_rate: int
    source_channels: int
    warnings: list[str] = field(default_factory=list)

    @property
    def duration(self) -> float:
        """Seconds that were decoded."""
        return len(self.samples) / SAMPLE_RATE

    def close(self) -> None:
        """Let go of the samples: memory and disk are free as soon as nobody else holds a part of them."""
        self.samples = np.empty(0, np.float32)


def decode(
    file: BinaryIO,
    spool_dir: Path,
    memory_budget: int,
    max_seconds: float,
    cancelled: Cancelled = lambda: False,
    tell: Tell = lambda share: None,
) -> Waveform:
    """Decode a recording from the start of `file`; beyond `memory_budget` bytes the samples go to a spool file in `spool_dir`.

    Channels are averaged and then resampled, as pyannote.audio does it. `tell` is called where the duration is known. Raises
    an AudioError, AudioTooLong as soon as more than `max_seconds` have come, whatever the container said, and JobCancelled
    once `cancelled` says so.
    """
    [waveform] = _decode(file, spool_dir, memory_budget, max_seconds, cancelled, tell, apart=False)
    return waveform


def split(
    file: BinaryIO,
    spool_dir: Path,
    memory_budget: int,
    max_seconds: float,
    cancelled: Cancelled = lambda: False,
    tell: Tell = lambda share: None,
) -> list[Waveform]:
    """As `decode`, but a waveform of each channel, which together stay within the budget.

    The first frame says how many there are; where others have fewer there is silence, and what they have beyond is left out.
    Raises InvalidRequest where there are more than MAX_TRACKS.
    """
    return _decode(file, spool_dir, memory_budget, max_seconds, cancelled, tell, apart=True)


def _decode(
    file: BinaryIO,
    spool_dir: Path,
    memory_budget: int,
    max_seconds: float,
    cancelled: Cancelled,
    tell: Tell,
    *,
    apart: bool,
) -> list[Waveform]:
    with open_audio(file) as recording, _closed() as spools:
        source = _Source(recording, max_seconds, apart=apart)
        for block in resampled(source.blocks()):
            if cancelled():
                raise JobCancelled()
            while len(spools) < len(block):
                spools.append(Spool(spool_dir, memory_budget // len(block)))
            for spool, samples in zip(spools, block, strict=True):
                spool.append(samples)
            if recording.duration:
                tell(min(1.0, source.seconds / recording.duration))
        warnings = [DAMAGED] if source.damaged else []
        return [Waveform(spool.sound(), source.rate, source.channels, list(warnings)) for spool in spools]


@contextmanager
def _closed() -> Generator[list[Spool]]:
    spools: list[Spool] = []
    try:
        yield spools
    finally:
        for spool in spools:
            spool.close()


class _Source:
    """The blocks of a recording, at the rates they come in, as rows of tracks; counts what it hands out."""

    def __init__(self, recording: Recording, max_seconds: float, *, apart: bool) -> None:
        """`apart`: a track is a channel; else there is one, their mix."""
        self._recording = recording
        self._max_seconds = max_seconds
        self._apart = apart
        self._not_whole = False
        self.seconds = 0.0
        self.rate = 0
        """Of the first frame, as `channels`."""
        self.channels = 0

    def blocks(self) -> Iterator[tuple[int, Samples]]:
        """(rate, samples), the latter as (tracks, samples). Raises AudioTooLong, and AudioEmpty or AudioUnreadable at the end
        of a file without sound."""
        held: list[Samples] = []
        length = rate = 0
        for frame in self._recording.frames():
            self._count(frame)
            if held and (frame.sample_rate != rate or length >= BLOCK):
                yield rate, self._joined(held)
                held, length = [], 0
            rate = frame.sample_rate
            held.append(self._tracks(frame))
            length += frame.samples
        if not held:
            raise self._recording.without_sound()
        yield rate, self._joined(held)

    def _tracks(self, frame: AudioFrame) -> Samples:
        channels = _channels(frame)
        if not self._apart:
            return channels if len(channels) == 1 else channels.mean(axis=0, keepdims=True)
        if len(channels) != self.channels:
            self._not_whole = True
            missing = max(0, self.channels - len(channels))
            channels = np.pad(channels[: self.channels], ((0, missing), (0, 0)))
        return channels

    def _joined(self, held: list[Samples]) -> Samples:
        block = np.concatenate(held, axis=1)
        finite = np.isfinite(block)
        if not finite.all():  # a float format can hold anything, and one NaN would spoil the whole result
            self._not_whole = True
            block[~finite] = 0
        return block

    def _count(self, frame: AudioFrame) -> None:
        if not self.rate:
            self.rate, self.channels = frame.sample_rate, frame.layout.nb_channels
            if self._apart and self.channels > MAX_TRACKS:
                raise InvalidRequest(
                    f"channels=split tells at most {MAX_TRACKS} channels apart, and this recording has {self.channels}: "
                    "use channels=mix"
                )
        self.seconds += frame.samples / frame.sample_rate
        if self.seconds > self._max_seconds + 1e-3:  # a sum of many fractions
            raise AudioTooLong(f"The recording is longer than {self._max_seconds:g} seconds")

    @property
    def damaged(self) -> bool:
        """Whether a part could not be decoded, or the stream is shorter than it promised to be."""
        missing = (self._recording.promised or 0) - self.seconds
        return self._not_whole or self._recording.damaged > 0 or missing > _MISSING + self.seconds / 1000


def _channels(frame: AudioFrame) -> Samples:
    """(channels, samples), in -1..1."""
    if frame.format.is_planar and frame.layout.nb_channels >= 8:
        # PyAV 18 looks for the planes' end and runs past it where there are eight or more.
        packed = av.AudioResampler(format="flt")
        frame = (packed.resample(frame) + packed.resample(None))[0]
    values: NDArray[Any] = frame.to_ndarray()
    channels = values if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels).T
    match frame.format.bytes if values.dtype.kind in "iu" else 0:
        case 0:
            return channels.astype(np.float32)
        case 1:  # the only unsigned format
            return (channels.astype(np.float32) - np.float32(128)) / np.float32(128)
        case width:
            return channels.astype(np.float32) / np.float32(1 << 8 * width - 1)

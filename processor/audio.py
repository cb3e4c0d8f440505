"""Any recording -> one mono waveform at 16 kHz, decoded once and in bounded memory."""

import math
import mmap
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol

import av
import numpy as np
import torch
from av.audio.frame import AudioFrame
from numpy.typing import NDArray
from torchaudio.transforms import Resample

from schemas.errors import AudioTooLong, InternalError, JobCancelled
from turnstream.media import Recording, open_audio

Samples = NDArray[np.float32]

SAMPLE_RATE = 16_000
DAMAGED = "audio_damaged"
"""Warning: parts of the recording could not be decoded, or are missing at its end."""

# Seconds (and a thousandth of the duration) that the end of a stream may lack: encoders round to their frames.
_MISSING = 0.2
# Source samples that are mixed, resampled and stored in one go: a megabyte.
_BLOCK = 1 << 18
# torchaudio's kernel grows with the product of the two rates (44,101 Hz to 16 kHz: 3 GB). Above so many elements
# FFmpeg's resampler does it.
_LARGEST_KERNEL = 1 << 21


@dataclass
class Waveform:
    """A decoded recording. `samples` are float32 in memory, or mapped from a spool file that has no name any more."""

    samples: Samples
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
    cancelled: Callable[[], bool] = lambda: False,
) -> Waveform:
    """Decode a recording from the start of `file`; beyond `memory_budget` bytes the samples go to a spool file in `spool_dir`.

    Channels are averaged and then resampled, as pyannote.audio does it. Raises an AudioError, AudioTooLong as soon as
    more than `max_seconds` have come, whatever the container said, and JobCancelled once `cancelled` says so.
    """
    store = _Store(spool_dir, memory_budget)
    with open_audio(file) as recording, store:
        source = _Source(recording, max_seconds)
        for block in _resampled(source.blocks()):
            if cancelled():
                raise JobCancelled()
            store.append(block)
        warnings = [DAMAGED] if source.damaged else []
        return Waveform(store.samples(), source.rate, source.channels, warnings)


class _Source:
    """The mono blocks of a recording, at the rates they come in; counts what it hands out."""

    def __init__(self, recording: Recording, max_seconds: float) -> None:
        self._recording = recording
        self._max_seconds = max_seconds
        self._not_numbers = False
        self.seconds = 0.0
        self.rate = 0
        """Of the first frame, as `channels`."""
        self.channels = 0

    def blocks(self) -> Iterator[tuple[int, Samples]]:
        """(rate, samples). Raises AudioTooLong, and AudioEmpty or AudioUnreadable at the end of a file without sound."""
        held: list[Samples] = []
        length = rate = 0
        for frame in self._recording.frames():
            self._count(frame)
            if held and (frame.sample_rate != rate or length >= _BLOCK):
                yield rate, self._joined(held)
                held, length = [], 0
            rate = frame.sample_rate
            held.append(_mono(frame))
            length += frame.samples
        if not held:
            raise self._recording.without_sound()
        yield rate, self._joined(held)

    def _joined(self, held: list[Samples]) -> Samples:
        block = np.concatenate(held)
        finite = np.isfinite(block)
        if not finite.all():  # a float format can hold anything, and one NaN would spoil the whole result
            self._not_numbers = True
            block[~finite] = 0
        return block

    def _count(self, frame: AudioFrame) -> None:
        if not self.rate:
            self.rate, self.channels = frame.sample_rate, frame.layout.nb_channels
        self.seconds += frame.samples / frame.sample_rate
        if self.seconds > self._max_seconds + 1e-3:  # a sum of many fractions
            raise AudioTooLong(f"The recording is longer than {self._max_seconds:g} seconds")

    @property
    def damaged(self) -> bool:
        """Whether a part could not be decoded, or the stream is shorter than it promised to be."""
        missing = (self._recording.promised or 0) - self.seconds
        return self._not_numbers or self._recording.damaged > 0 or missing > _MISSING + self.seconds / 1000


def _mono(frame: AudioFrame) -> Samples:
    """The average of the channels, in -1..1."""
    if frame.format.is_planar and frame.layout.nb_channels >= 8:
        # PyAV 18 looks for the planes' end and runs past it where there are eight or more.
        packed = av.AudioResampler(format="flt")
        frame = (packed.resample(frame) + packed.resample(None))[0]
    values: NDArray[Any] = frame.to_ndarray()
    channels = values if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels).T
    match frame.format.bytes if values.dtype.kind in "iu" else 0:
        case 0:
            samples = channels.astype(np.float32)
        case 1:  # the only unsigned format
            samples = (channels.astype(np.float32) - 128) / 128
        case width:
            samples = channels.astype(np.float32) / (1 << 8 * width - 1)
    return samples[0] if len(samples) == 1 else samples.mean(axis=0)


class _Resampler(Protocol):
    def push(self, block: Samples) -> Samples:
        """What can be said by now; perhaps nothing."""
        ...

    def finish(self) -> Samples: ...


def _resampled(blocks: Iterator[tuple[int, Samples]]) -> Iterator[Samples]:
    """The blocks at SAMPLE_RATE. Where the source changes its rate, a new resampler begins."""
    current: _Resampler | None = None
    current_rate = 0
    for rate, block in blocks:
        if current is None or rate != current_rate:
            if current is not None:
                yield current.finish()
            current, current_rate = resampler(rate), rate
        for start in range(0, len(block), 2 * _BLOCK):  # more only where a single frame is that long
            yield current.push(block[start : start + 2 * _BLOCK])
    if current is not None:
        yield current.finish()


def resampler(rate: int) -> _Resampler:
    """To SAMPLE_RATE, in blocks of any sizes."""
    if rate == SAMPLE_RATE:
        return _Unchanged()
    divisor = math.gcd(rate, SAMPLE_RATE)
    source, target = rate // divisor, SAMPLE_RATE // divisor
    if target * (source + 2 * _reach(source, target)) > _LARGEST_KERNEL:
        return _FFmpegResampler(rate)
    return _TorchResampler(source, target)


def _reach(source: int, target: int) -> int:
    """Source samples to each side that an output sample depends on: torchaudio's default filter has six crossings of
    zero to each side and cuts off at 0.99 of the lower rate."""
    return math.ceil(6 * source / (0.99 * min(source, target)))


class _Unchanged:
    def push(self, block: Samples) -> Samples:
        return block

    def finish(self) -> Samples:
        return np.empty(0, np.float32)


class _TorchResampler:
    """`torchaudio.functional.resample` in blocks, `source` samples becoming `target` ones (reduced by their divisor).

    Every piece is resampled with its neighbourhood, whose output is cut off again. Pieces are whole periods of the
    filter, so that each output sample gets the weights it would have had in one go.
    """

    def __init__(self, source: int, target: int) -> None:
        # With this dtype the transform has the very kernel that the function computes for float32.
        self._resample = Resample(source, target, dtype=torch.float32)
        self._source, self._target = source, target
        self._context = math.ceil(_reach(source, target) / source)  # in periods
        self._held = np.zeros(self._context * source, np.float32)  # before the recording: silence

    def push(self, block: Samples) -> Samples:
        self._held = np.concatenate([self._held, block])
        periods = len(self._held) // self._source - 2 * self._context
        if periods <= 0:
            return np.empty(0, np.float32)
        piece = self._held[: (periods + 2 * self._context) * self._source]
        self._held = self._held[periods * self._source :].copy()
        return self._apply(piece, periods * self._target)

    def finish(self) -> Samples:
        length = len(self._held) - self._context * self._source
        piece = np.pad(self._held, (0, self._context * self._source))
        return self._apply(piece, -(-length * self._target // self._source))

    def _apply(self, piece: Samples, length: int) -> Samples:
        skipped = self._context * self._target
        return self._resample(torch.from_numpy(piece)).numpy()[skipped : skipped + length]


class _FFmpegResampler:
    """For rates that have little in common with SAMPLE_RATE."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)

    def push(self, block: Samples) -> Samples:
        frame = AudioFrame.from_ndarray(block[np.newaxis], format="flt", layout="mono")
        frame.sample_rate = self._rate
        return self._joined(frame)

    def finish(self) -> Samples:
        return self._joined(None)

    def _joined(self, frame: AudioFrame | None) -> Samples:
        parts = [part.to_ndarray()[0] for part in self._resampler.resample(frame)]
        return np.concatenate([np.empty(0, np.float32), *parts])


class _Store:
    """Takes samples in memory up to a budget; once that is passed, in a file that has no name from the start."""

    def __init__(self, spool_dir: Path, memory_budget: int) -> None:
        self._spool_dir = spool_dir
        self._budget = memory_budget
        # Only the pages that are written to become real, and all go back to the system in the end.
        self._memory = mmap.mmap(-1, max(memory_budget, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._size = 0
        self._file: IO[bytes] | None = None

    def append(self, block: Samples) -> None:
        """Raises InternalError where the spool cannot be written."""
        data = block.tobytes()
        try:
            if self._file is None and self._size + len(data) > self._budget:
                self._move_to_file()
            if self._file is None:
                self._memory[self._size : self._size + len(data)] = data
            else:
                self._file.write(data)
        except OSError as error:
            raise InternalError(f"The spool in {self._spool_dir} cannot be written: {error.strerror}") from error
        self._size += len(data)

    def samples(self) -> Samples:
        if self._file is None:
            return np.frombuffer(self._memory, np.float32, self._size // 4)
        self._file.flush()
        # Copy on write, so that the array counts as writable, as torch wants it.
        return np.frombuffer(mmap.mmap(self._file.fileno(), self._size, access=mmap.ACCESS_COPY), np.float32)

    def _move_to_file(self) -> None:
        self._file = tempfile.TemporaryFile(dir=self._spool_dir, prefix="waveform-")  # noqa: SIM115  closed by __exit__
        self._file.write(memoryview(self._memory)[: self._size])
        self._memory.close()

    def __enter__(self) -> "_Store":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()  # a mapping of it lives on

"""Samples of any rate -> SAMPLE_RATE, block by block."""

import math
from collections.abc import Iterator
from typing import Protocol

import av
import numpy as np
import torch
from av.audio.frame import AudioFrame
from torchaudio.transforms import Resample

from processor.spool import SAMPLE_RATE, Samples

BLOCK = 1 << 18
"""Source samples that are mixed, resampled and stored in one go: a megabyte."""

# torchaudio's kernel grows with the product of the two rates (44,101 Hz to 16 kHz: 3 GB). Above so many elements
# FFmpeg's resampler does it.
_LARGEST_KERNEL = 1 << 21


class Resampler(Protocol):
    def push(self, block: Samples) -> Samples:
        """What can be said by now; perhaps nothing."""
        ...

    def finish(self) -> Samples: ...


def resampled(blocks: Iterator[tuple[int, Samples]]) -> Iterator[Samples]:
    """Blocks of (rate, samples) at SAMPLE_RATE. Where the source changes its rate, a new resampler begins.

    Samples come, and go, as rows of tracks: (tracks, samples).
    """
    current: list[Resampler] = []
    current_rate = 0
    for rate, block in blocks:
        if not current or rate != current_rate:
            if current:
                yield np.stack([each.finish() for each in current])
            current, current_rate = [resampler(rate) for _ in block], rate
        for start in range(0, block.shape[1], 2 * BLOCK):  # more only where a single frame is that long
            part = block[:, start : start + 2 * BLOCK]
            yield np.stack([each.push(row) for each, row in zip(current, part, strict=True)])
    if current:
        yield np.stack([each.finish() for each in current])


def resampler(rate: int) -> Resampler:
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

"""A waveform as the overlapping windows that the networks see."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from processor.spool import Samples, Sound

__all__ = ["Samples", "Windows", "batch"]


class Windows:
    """Windows of `size` samples every `step` samples, as `pyannote.audio.Inference` cuts them.

    Each is read, or a view, when it is asked for. The last one may be shorter than `size`: zeros take its place in a batch.
    """

    def __init__(self, samples: Sound, size: int, step: int) -> None:
        self.samples, self.size, self.step = samples, size, step
        beyond = max(0, len(samples) - size)
        self._count = 1 + -(-beyond // step) if len(samples) else 0

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Samples:
        if not 0 <= index < self._count:
            raise IndexError(index)
        start = index * self.step
        return self.samples[start : start + self.size]


def batch(windows: Sequence[Samples], count: int, size: int) -> npt.NDArray[np.float32]:
    """`windows` as an array of shape (count, 1, size), padded with zeros: its shape never depends on what is in it."""
    array = np.zeros((count, 1, size), dtype=np.float32)
    for row, window in zip(array, windows, strict=False):
        row[0, : len(window)] = window
    return array

"""A waveform as blocks whose frames, once computed, serve all windows that see them.

A frame is what the embedding network gives out every 80 ms: filter banks come every 10 ms, and it halves time three times.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

HOP = 160
"""Samples from one filter bank to the next."""
OVERHANG = 240
"""Samples that a filter bank sees beyond its hop."""
BANKS = 8
"""Filter banks a frame."""
FRAME = BANKS * HOP
"""Samples a frame."""
LENGTH = 212
"""Frames of a block, 17 s: one pass takes some 0.2 s on two cores. Longer ones gain little."""
MARGIN = 6
"""Frames at either end of a block that are not used where there is a neighbour, half a second. 0.5, 1 and 1.5 s did the same."""

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks spread evenly over `frames` frames, so that each keeps margins that are as wide as they can be."""

    frames: int
    starts: Integers
    """The first frame of each."""
    bounds: Integers
    """Where one ends and the next begins to be used: one more than there are blocks, from 0 to `frames`."""

    @classmethod
    def over(cls, samples: int) -> "Blocks":
        frames = -(-samples // FRAME)
        beyond = max(0, frames - LENGTH)
        gaps = -(-beyond // (LENGTH - 2 * MARGIN))
        starts = np.arange(gaps + 1) * beyond // max(gaps, 1)
        middles = (starts[:-1] + starts[1:] + LENGTH) // 2
        return cls(frames, starts, np.concatenate([[0], middles, [frames]]))

    def at(self, frames: Integers) -> Integers:
        """The blocks that these frames are taken from."""
        return np.searchsorted(self.bounds[1:-1], frames, side="right")

"""What the networks said of one waveform: all that the rest of diarization starts from."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Analysis:
    """Arrays that are filled window by window."""

    activity: npt.NDArray[np.uint8]
    """Whether a window's speaker is active in a frame, 0 or 1: (windows, frames, speakers)."""
    vectors: npt.NDArray[np.float32]
    """A voice print for each speaker of a window: (windows, speakers, dimension). Ones where the speaker is silent."""

    @classmethod
    def blank(cls, windows: int, frames: int, speakers: int, dimension: int) -> "Analysis":
        """Of a waveform that no network has seen yet."""
        return cls(
            np.zeros((windows, frames, speakers), dtype=np.uint8),
            np.ones((windows, speakers, dimension), dtype=np.float32),
        )

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

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """What `blank` takes."""
        windows, frames, speakers = self.activity.shape
        return windows, frames, speakers, self.vectors.shape[2]

    def packed(self) -> bytes:
        """A bit for each frame and speaker, and the vectors of those who speak: about 6 MB an hour of speech, 9 where two and
        more are heard in every window.

        Together with `shape` it is the whole analysis, to the last bit.
        """
        speaking = self.activity.any(axis=1)
        return np.packbits(self.activity).tobytes() + self.vectors[speaking].astype("<f4", copy=False).tobytes()

    @classmethod
    def unpacked(cls, data: bytes, shape: tuple[int, int, int, int]) -> "Analysis":
        """The inverse of `packed`. Raises ValueError where the data are not of this shape, before there is room made for it."""
        windows, frames, speakers, dimension = shape
        size = windows * frames * speakers
        if min(shape) < 0 or -(-size // 8) > len(data):
            raise ValueError(f"{len(data)} bytes are no activity of shape {shape[:3]}")
        bits, prints = np.frombuffer(data, np.uint8, -(-size // 8)), data[-(-size // 8) :]
        activity = np.unpackbits(bits, count=size).reshape(windows, frames, speakers)
        speaking = activity.any(axis=1)
        if len(prints) != np.count_nonzero(speaking) * dimension * np.dtype("<f4").itemsize:
            raise ValueError(f"{len(prints)} bytes are not the vectors of those who speak")
        vectors = np.ones((windows, speakers, dimension), dtype=np.float32)
        vectors[speaking] = np.frombuffer(prints, "<f4").reshape(-1, dimension)
        return cls(activity, vectors)

"""The second network: a voice print of each speaker of a window.

Stock pyannote runs the network once for each (window, speaker), though only its pooling layer at the very end looks at the
speaker. Here one pass over a window serves all its speakers, and a window where nobody speaks needs none.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from processor.engines.diarize.quiet import quiet
from processor.engines.diarize.windows import Samples, batch

WINDOWS_A_PASS = 2
"""A window costs the same in passes of one to six on a CPU; two keep a step below half a second there."""

Array = npt.NDArray[np.float32]


class Embedder:
    """Passes of fixed shape through the network of `embedding`, a PyannoteAudioPretrainedSpeakerEmbedding."""

    def __init__(self, embedding: Any, *, size: int, frames: int, speakers: int, exclude_overlap: bool) -> None:
        self._embedding = embedding
        self._size, self._frames, self._speakers = size, frames, speakers
        self._exclude_overlap = exclude_overlap
        self.dimension: int = embedding.dimension
        # As stock does: with less clean speech than the network needs for one vector, overlapped speech is used too.
        with quiet:  # upstream finds that need by trying ever shorter noise, and torch complains
            self._min_frames = math.ceil(frames * embedding.min_num_samples / size)

    def masks(self, activity: Array) -> Array:
        """Which frames of a window make each speaker's vector: (frames, speakers) to (speakers, frames)."""
        used = activity
        if self._exclude_overlap:
            clean = activity * (activity.sum(axis=1, keepdims=True) < 2)
            used = np.where(clean.sum(axis=0) > self._min_frames, clean, activity)
        return np.ascontiguousarray(used.T, dtype=np.float32)

    def blank(self, windows: int) -> Array:
        """Vectors for all windows before any pass. Those of silent speakers stay: the clustering never looks at them."""
        return np.ones((windows, self._speakers, self.dimension), dtype=np.float32)

    def __call__(self, windows: Sequence[Samples], masks: Sequence[Array]) -> Array:
        """Vectors as an array of shape (windows, speakers, dimension), of WINDOWS_A_PASS windows at most."""
        device = self._embedding.device
        waveforms = torch.from_numpy(batch(windows, WINDOWS_A_PASS, self._size)).to(device)
        weights = np.zeros((WINDOWS_A_PASS, self._speakers, self._frames), dtype=np.float32)
        weights[: len(masks)] = masks
        with torch.inference_mode():
            vectors = self._embedding.model_(waveforms, weights=torch.from_numpy(weights).to(device))
        return vectors.cpu().numpy()[: len(windows)]

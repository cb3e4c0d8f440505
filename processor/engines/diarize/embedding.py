"""The second network: a voice print of each speaker of a window.

Stock pyannote runs the network once for each (window, speaker), though only its pooling layer at the very end looks at the
speaker. Here one pass over a window serves all its speakers, and a window where nobody speaks needs none.
"""

from collections.abc import Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch

from processor.engines.diarize.analysis import Analysis
from processor.engines.diarize.passes import Passes
from processor.engines.diarize.pieces import Array, Embedding, Piece
from processor.engines.diarize.transfer import to_device
from processor.engines.diarize.tuning import Tuning
from processor.engines.diarize.voice import VoiceNetwork
from processor.engines.diarize.windows import Windows, batch
from schemas.jobs import Mode


class Masks:
    """Upstream's rule which frames make a voice print. Outlives the networks."""

    def __init__(self, min_frames: int, *, exclude_overlap: bool) -> None:
        """More than `min_frames` of clean speech are needed for overlapped speech to be left out."""
        self._min_frames, self._exclude_overlap = min_frames, exclude_overlap

    def __call__(self, activity: npt.NDArray[np.uint8]) -> Array:
        """Of one window, for each speaker: (frames, speakers) to (speakers, frames)."""
        used = activity
        if self._exclude_overlap:
            clean = activity * (activity.sum(axis=1, keepdims=True) < 2)
            used = np.where(clean.sum(axis=0) > self._min_frames, clean, activity)
        return np.ascontiguousarray(used.T, dtype=np.float32)


class Embedder(Passes):
    """Passes of fixed shape through the embedding network."""

    def __init__(self, network: VoiceNetwork, tuning: Tuning, *, size: int, frames: int, speakers: int) -> None:
        super().__init__(tuning.embedding_rows)
        self._network = network
        self._size, self._frames, self._speakers = size, frames, speakers

    def __call__(self, pieces: Sequence[Piece]) -> Array:
        """Vectors as an array of shape (pieces, speakers, dimension), of `room` windows at most."""
        waveforms = to_device(batch([piece.samples for piece in pieces], self.room, self._size), self._network.device)
        masks = np.zeros((self.room, self._speakers, self._frames), dtype=np.float32)
        for row, piece in zip(masks, pieces, strict=False):
            row[:] = piece.masks
        with torch.inference_mode():
            vectors = self._network(waveforms, to_device(masks, self._network.device))
        return vectors.cpu().numpy()[: len(pieces)]


class WindowEmbedding(Embedding):
    """Exact: a piece is a window in which somebody speaks."""

    mode = Mode.EXACT

    def __init__(
        self, windows: Windows, analysis: Analysis, masks: Masks, only: npt.NDArray[np.int64] | None = None
    ) -> None:
        """`only`: some of those windows, and no others."""
        self._windows, self._analysis, self._masks = windows, analysis, masks
        spoken = np.flatnonzero(analysis.activity.any(axis=(1, 2))) if only is None else np.sort(only)
        super().__init__(int(index) for index in spoken)

    def pieces(self, room: int) -> list[Piece]:
        return [
            Piece(index, self._windows[index], self._masks(self._analysis.activity[index]))
            for index in islice(self._waiting, room)
        ]

    def take(self, index: int, value: Array) -> None:
        speaking = self._analysis.activity[index].any(axis=0)
        self._analysis.vectors[index, speaking] = value[speaking]
        self._waiting.popleft()

"""One waveform on its way through the networks: a job has one track, or one for each channel of its recording."""

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from processor.engines.diarize.model import DiarizationModel
from processor.engines.diarize.pieces import Embedding, Piece
from processor.spool import Sound
from schemas.jobs import Mode

SEGMENTATION: Final = "segmentation"
Kind = Literal["segmentation"] | Mode
"""Of a pass: only pieces of the same kind share one."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A piece's place in a pass."""

    track: "Track"
    piece: Piece


class Track:
    """First all windows are segmented, then all voices embedded, so that what is left to do is known all along.

    It holds nothing of the networks, which may be unloaded at any time and come again.
    """

    def __init__(self, samples: Sound, mode: Mode, model: DiarizationModel) -> None:
        """Makes room for all that the networks will say."""
        self._windows = model.windows(samples)
        self._mode = mode
        self._embedding: Embedding | None = None
        self._only: npt.NDArray[np.int64] | None = None
        self._segmented = 0
        self.analysis = model.blank(len(self._windows))
        self.near_ties = 0
        """Frames, counted in each window that has them, in which the segmentation was undecided."""

    def prepare(self, model: DiarizationModel) -> None:
        """To be called before passes are filled: what is segmented can be embedded."""
        if self._embedding is None and self._segmented == len(self._windows):
            self._embedding = model.embedding(self._mode, self._windows, self.analysis, self._only)

    def embed_again(self, only: npt.NDArray[np.int64] | None = None) -> None:
        """Exactly: all windows, as if the segmentation had just ended, or `only` some, while the others stay as they are."""
        if only is None:
            self.analysis.vectors[:] = 1
        self._mode, self._only, self._embedding = Mode.EXACT, only, None

    @property
    def mode(self) -> Mode:
        """Exact also where fast was asked for and gains nothing, which is known once all is segmented."""
        return self._mode if self._embedding is None else self._embedding.mode

    @property
    def wants(self) -> Kind | None:
        """The kind of pass that comes next. None: the networks have said all."""
        if self._segmented < len(self._windows):
            return SEGMENTATION
        return None if self._embedding is not None and self._embedding.done else self.mode

    def slots(self, kind: Kind, room: int) -> list[Slot]:
        """What wants a pass of this kind, in its order, `room` at most."""
        if kind != self.wants or room <= 0:
            return []
        if kind != SEGMENTATION:
            return [Slot(self, piece) for piece in self._embedding.pieces(room)] if self._embedding else []
        some = range(self._segmented, min(self._segmented + room, len(self._windows)))
        return [Slot(self, Piece(index, self._windows[index])) for index in some]

    def take(self, kind: Kind, index: int, value: Any) -> None:
        """What a pass made of a piece; pieces come back in their order."""
        if kind == SEGMENTATION:
            self.analysis.activity[index], near_ties = value
            self.near_ties += int(near_ties)
            self._segmented += 1
        elif self._embedding is not None:
            self._embedding.take(index, value)

    @property
    def segmented(self) -> float:
        """The share that is done, 0 to 1."""
        return self._segmented / len(self._windows)

    @property
    def embedded(self) -> float:
        """The share that is done, 0 to 1."""
        return self._embedding.fraction if self._embedding is not None else 0.0

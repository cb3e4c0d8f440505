"""The embedding stage of one waveform, as pieces that passes are filled with."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from processor.engines.diarize.windows import Samples
from schemas.jobs import Mode

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Piece:
    """What one row of a pass needs."""

    index: int
    samples: Samples
    masks: Array | None = None
    """Which frames make each speaker's vector, (speakers, frames), where the network pools them itself."""


class Embedding(ABC):
    """How far one waveform has come. It holds nothing of the networks, which may be unloaded meanwhile."""

    mode: Mode

    def __init__(self, waiting: Iterable[int]) -> None:
        """`waiting`: the indices of all pieces, in their order."""
        self._waiting = deque(waiting)
        self._count = len(self._waiting)

    @abstractmethod
    def pieces(self, room: int) -> Sequence[Piece]:
        """Those that want a pass next, `room` at most. They stay until they are taken."""

    @abstractmethod
    def take(self, index: int, value: Any) -> None:
        """What a pass made of a piece; pieces come back in the order they were handed out."""

    @property
    def done(self) -> bool:
        return not self._waiting

    @property
    def fraction(self) -> float:
        """Of the whole stage, 0 to 1."""
        return 1 - len(self._waiting) / self._count if self._count else 1.0

"""The last step: the windows' speakers become the recording's speakers, and frames become turns."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from processor.engines.diarize.analysis import Analysis
from processor.engines.diarize.quiet import quiet
from schemas.errors import JobCancelled
from schemas.jobs import DiarizeParams

BOUNDS_MISSED = "speaker_bounds_missed"
"""The number of speakers found is not one that was asked for."""


@dataclass(frozen=True, slots=True)
class Turn:
    speaker: str
    start: float
    end: float
    confidence: float | None = None
    """How many of the windows that see these frames say so, and how clearly: 0 to 1."""


@dataclass(frozen=True, slots=True)
class Turns:
    """Who spoke when. `turns` may overlap, `exclusive` ones do not."""

    turns: list[Turn]
    exclusive: list[Turn]
    speakers: list[str]
    embeddings: npt.NDArray[np.float32] | None = None
    """A voice print for each of `speakers`, NaN where there is none: (speakers, dimension)."""
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Survey:
    """How well the voice prints of a fast embedding can be told apart, whatever was asked for."""

    risky: bool
    """A little more or less of something, and others would have spoken."""
    doubtful: npt.NDArray[np.int64]
    """The windows whose speakers are the hardest to tell apart, the hardest first."""


class Clustering(Protocol):
    """All that follows the networks of a pipeline. `cancelled` is called now and then, and may raise."""

    def turns(self, analysis: Analysis, params: DiarizeParams, cancelled: Callable[[], None]) -> Turns: ...

    def survey(self, analysis: Analysis, cancelled: Callable[[], None]) -> Survey: ...


def cluster(
    clustering: Clustering, analysis: Analysis, params: DiarizeParams, cancelled: Callable[[], bool] = lambda: False
) -> Turns:
    """Run everything but the networks. Raises JobCancelled soon after `cancelled` is true.

    It may take minutes for a long recording and is meant for a thread of its own; several may run at once.
    """
    with quiet:  # of means over nothing, for short clips
        found = clustering.turns(analysis, params, _raising(cancelled))
    if not _within_bounds(len(found.speakers), params):
        found.warnings.append(BOUNDS_MISSED)
    return found


def survey(clustering: Clustering, analysis: Analysis, cancelled: Callable[[], bool] = lambda: False) -> Survey:
    """Before the clustering of what was embedded fast. Raises JobCancelled soon after `cancelled` is true."""
    with quiet:
        return clustering.survey(analysis, _raising(cancelled))


def _raising(cancelled: Callable[[], bool]) -> Callable[[], None]:
    def check() -> None:
        if cancelled():
            raise JobCancelled

    check()
    return check


def _within_bounds(found: int, params: DiarizeParams) -> bool:
    low = params.num_speakers or params.min_speakers or 0
    high = params.num_speakers or params.max_speakers or found
    return low <= found <= high

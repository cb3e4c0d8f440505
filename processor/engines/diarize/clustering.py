"""The last step: the windows' speakers become the recording's speakers, and frames become turns."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from processor.engines.diarize.quiet import quiet
from schemas.jobs import DiarizeParams

BOUNDS_MISSED = "speaker_bounds_missed"
"""The number of speakers found is not one that was asked for."""


@dataclass(frozen=True, slots=True)
class Turn:
    speaker: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Turns:
    """Who spoke when. `turns` may overlap, `exclusive` ones do not."""

    turns: list[Turn]
    exclusive: list[Turn]
    speakers: list[str]
    warnings: list[str] = field(default_factory=list)


def cluster(
    pipeline: Any,
    activity: npt.NDArray[np.float32],
    vectors: npt.NDArray[np.float32],
    params: DiarizeParams,
) -> Turns:
    """Run everything but the networks: counting, clustering, reconstruction and labels are upstream's own code.

    It may take minutes for a long recording and is meant for a thread of its own; several may run at once.
    """
    with quiet:  # of means over nothing, for short clips, and of bounds, which become a code here
        file = {"uri": "recording", "activity": activity, "vectors": vectors}
        output = pipeline.apply(file, **_bounds(params, pipeline.voices(file)))
    speakers = [str(label) for label in output.speaker_diarization.labels()]
    return Turns(
        turns=_turns(output.speaker_diarization),
        exclusive=_turns(output.exclusive_speaker_diarization),
        speakers=speakers,
        warnings=[] if _within_bounds(len(speakers), params) else [BOUNDS_MISSED],
    )


def _bounds(params: DiarizeParams, voices: int) -> dict[str, int | None]:
    """The caller's bounds, but that no more speakers are asked for than there are voices: stock would raise then."""
    low, high, exact = params.min_speakers, params.max_speakers, params.num_speakers
    if voices >= 2:  # with fewer, stock does not cluster at all
        low, exact = low and min(low, voices), exact and min(exact, voices)
    return {"num_speakers": exact, "min_speakers": low, "max_speakers": high}


def _turns(annotation: Any) -> list[Turn]:
    # Rounding to microseconds takes the float noise of frame times away and nothing else: a frame is 17 ms.
    return [
        Turn(str(label), round(float(turn.start), 6), round(float(turn.end), 6))
        for turn, _, label in annotation.itertracks(yield_label=True)
    ]


def _within_bounds(found: int, params: DiarizeParams) -> bool:
    low = params.num_speakers or params.min_speakers or 0
    high = params.num_speakers or params.max_speakers or found
    return low <= found <= high

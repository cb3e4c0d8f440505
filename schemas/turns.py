"""Who spoke when, as people do or one at a time."""

from collections.abc import Sequence
from enum import StrEnum

from schemas.errors import InvalidRequest
from schemas.results import DiarizationResult, Segment, TranscriptResult


class Turns(StrEnum):
    OVERLAPPING = "overlapping"
    """As they were: several may speak at once."""
    EXCLUSIVE = "exclusive"
    """One speaker at a time, for tools that cannot do with more."""


def turns_of(result: DiarizationResult | TranscriptResult, which: Turns = Turns.OVERLAPPING) -> Sequence[Segment]:
    """Raises InvalidRequest where the result, which an earlier release stored, has no such turns."""
    exclusive = which is Turns.EXCLUSIVE
    if isinstance(result, DiarizationResult):
        return result.exclusive_segments if exclusive else result.segments
    if not exclusive:
        return result.turns
    if result.exclusive_turns is None:
        raise InvalidRequest(
            "This transcript was made by a release that kept no exclusive turns; run it again to have them"
        )
    return result.exclusive_turns

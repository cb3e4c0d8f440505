"""How another answer to "who spoke when" differs from a first one: errors, speakers, turns. Times are seconds."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import cast

from pydantic import Field

from schemas.base import Value
from schemas.results import Segment

PLACES = 3
"""Of seconds: sums of floats have many."""
MOVED = 0.1
"""Seconds that a turn's beginning or end may differ without counting as moved."""

MOSTLY = 0.5
"""Of the shorter of two turns, in which the other one talks, so that it is the same turn given to another speaker."""


class Errors(Value):
    """Speech of the first answer, and where the other one differs from it, as the diarization error rate counts it: a second
    in which two speak is two.
    """

    speech: float = 0.0
    missed: float = 0.0
    false_alarm: float = 0.0
    confusion: float = 0.0

    @property
    def rate(self) -> float | None:
        """Errors as a part of the speech; None where nobody speaks and somebody was heard."""
        wrong = self.missed + self.false_alarm + self.confusion
        return wrong / self.speech if self.speech else None if wrong else 0.0

    def plus(self, other: "Errors") -> "Errors":
        mine, others = self.model_dump(), other.model_dump()
        return Errors(**{name: round(mine[name] + others[name], PLACES) for name in mine})


class Pair(Value):
    """The same person in both answers, as far as the times tell; null where one of them has nobody of the kind."""

    before: str | None
    after: str | None
    before_time: float
    after_time: float


class Kind(StrEnum):
    ADDED = "added"
    REMOVED = "removed"
    MOVED = "moved"
    """Its beginning or its end."""
    GIVEN = "given"
    """It is another speaker's now."""


class Change(Value):
    """A turn that is not as it was. The speaker of `after` has the name of the same one before, a new one a + before its own."""

    kind: Kind
    before: Segment | None = None
    after: Segment | None = None

    @property
    def start(self) -> float:
        return min(turn.start for turn in (self.before, self.after) if turn is not None)


class Comparison(Value):
    der: float | None = Field(description="the diarization error rate, 1 is all of the speech")
    errors: Errors
    speakers: list[Pair]
    turns_before: int
    turns_after: int
    changes: list[Change]


def compare(before: Sequence[Segment], after: Sequence[Segment], duration: float, collar: float = 0.0) -> Comparison:
    """`collar`: seconds on either side of each end of the first answer's turns in which no error counts."""
    errors, mapping = _errors(before, after, duration, collar)
    renamed = [turn.model_copy(update={"speaker": mapping.get(turn.speaker, f"+{turn.speaker}")}) for turn in after]
    return Comparison(
        der=errors.rate,
        errors=errors,
        speakers=_pairs(before, after, mapping),
        turns_before=len(before),
        turns_after=len(after),
        changes=sorted(changes(before, renamed), key=lambda change: change.start),
    )


def _errors(
    before: Sequence[Segment], after: Sequence[Segment], duration: float, collar: float
) -> tuple[Errors, Mapping[str, str]]:
    """And which speaker of the first answer each of the other's is."""
    from pyannote.core import Annotation, Timeline
    from pyannote.core import Segment as Stretch
    from pyannote.metrics.diarization import DiarizationErrorRate

    def annotation(turns: Iterable[Segment]) -> Annotation:
        made = Annotation()
        for track, turn in enumerate(turns):
            made[Stretch(turn.start, turn.end), track] = turn.speaker
        return made

    whole = Timeline([Stretch(0, max([duration, *(turn.end for turn in (*before, *after))]))])
    metric = DiarizationErrorRate(collar=2 * collar, skip_overlap=False)  # whose collar is that of both sides together
    parts = cast(dict[str, float], metric(annotation(before), annotation(after), uem=whole, detailed=True))
    names = {"speech": "total", "missed": "missed detection", "false_alarm": "false alarm", "confusion": "confusion"}
    errors = Errors(**{ours: round(parts[theirs], PLACES) for ours, theirs in names.items()})
    return errors, cast(dict[str, str], metric.optimal_mapping(annotation(before), annotation(after), uem=whole))


def _pairs(before: Sequence[Segment], after: Sequence[Segment], mapping: Mapping[str, str]) -> list[Pair]:
    was, now = _times(before), _times(after)
    known = {first: other for other, first in mapping.items()}
    pairs = [
        Pair(before=name, after=(other := known.get(name)), before_time=time, after_time=now.get(other or "", 0.0))
        for name, time in was.items()
    ]
    new = (name for name in now if name not in mapping)
    return pairs + [Pair(before=None, after=name, before_time=0.0, after_time=now[name]) for name in new]


def _times(turns: Iterable[Segment]) -> dict[str, float]:
    times: dict[str, float] = {}
    for turn in turns:
        times[turn.speaker] = times.get(turn.speaker, 0.0) + turn.end - turn.start
    return {speaker: round(time, PLACES) for speaker, time in sorted(times.items())}


def changes(before: Sequence[Segment], after: Sequence[Segment]) -> Iterator[Change]:
    """Turns of one speaker that overlap are the same turn; of the rest, turns of two that overlap for the most part."""
    own: list[tuple[Segment, Segment]] = []
    for speaker in {turn.speaker for turn in before}:
        own += partners([t for t in before if t.speaker == speaker], [t for t in after if t.speaker == speaker])
    for was, now in own:
        if max(abs(was.start - now.start), abs(was.end - now.end)) > MOVED:
            yield Change(kind=Kind.MOVED, before=was, after=now)
    lost = _without(before, (was for was, _ in own))
    new = _without(after, (now for _, now in own))
    given = partners(lost, new, least=MOSTLY)
    for was, now in given:
        yield Change(kind=Kind.GIVEN, before=was, after=now)
    for turn in _without(lost, (was for was, _ in given)):
        yield Change(kind=Kind.REMOVED, before=turn)
    for turn in _without(new, (now for _, now in given)):
        yield Change(kind=Kind.ADDED, after=turn)


def partners(these: Sequence[Segment], those: Sequence[Segment], least: float = 0.0) -> list[tuple[Segment, Segment]]:
    """Pairs of turns that overlap, each turn in one of them at most, those that are most alike first. `least`: how much of
    the shorter one has to be in the other.
    """
    alike: list[tuple[float, int, int]] = []
    for shared, this, that in _overlaps(these, those):
        lengths = [turn.end - turn.start for turn in (these[this], those[that])]
        if shared >= least * min(lengths):
            alike.append((shared / (sum(lengths) - shared), this, that))
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for _, this, that in sorted(alike, key=lambda each: -each[0]):
        if this not in pairs and that not in taken:
            pairs[this] = that
            taken.add(that)
    return [(these[this], those[that]) for this, that in pairs.items()]


def _overlaps(these: Sequence[Segment], those: Sequence[Segment]) -> Iterator[tuple[float, int, int]]:
    """Seconds, more than 0, and the indices of what overlaps, in one sweep over the times."""
    sides = (these, those)
    begins = sorted((turn.start, side, index) for side in (0, 1) for index, turn in enumerate(sides[side]))
    open_: list[list[int]] = [[], []]
    for start, side, index in begins:
        open_ = [[each for each in open_[one] if sides[one][each].end > start] for one in (0, 1)]
        for other in open_[1 - side]:
            shared = min(sides[side][index].end, sides[1 - side][other].end) - start
            if shared > 0:
                yield (shared, index, other) if side == 0 else (shared, other, index)
        open_[side].append(index)


def _without(turns: Iterable[Segment], taken: Iterable[Segment]) -> list[Segment]:
    ids = {id(turn) for turn in taken}
    return [turn for turn in turns if id(turn) not in ids]

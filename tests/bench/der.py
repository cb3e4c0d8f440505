"""How two answers to "who spoke when" differ: by the diarization error rate, and by frames."""

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate

from tests.bench.corpus.reference import Spoken

FRAME = 0.016875
"""Seconds between two frames of the segmentation network."""


@dataclass(frozen=True, slots=True)
class Errors:
    """Seconds of speech, and of the errors in it."""

    total: float = 0.0
    missed: float = 0.0
    false_alarm: float = 0.0
    confused: float = 0.0

    @property
    def rate(self) -> float:
        """In percent."""
        return 100 * (self.missed + self.false_alarm + self.confused) / self.total if self.total else 0.0

    def __add__(self, other: "Errors") -> "Errors":
        return Errors(
            self.total + other.total,
            self.missed + other.missed,
            self.false_alarm + other.false_alarm,
            self.confused + other.confused,
        )


def errors(reference: Iterable[Spoken], found: Iterable[Spoken], seconds: float, collar: float = 0.0) -> Errors:
    """Overlapped speech counts. `collar` seconds on either side of each end of a reference turn do not (as md-eval does it)."""
    metric = DiarizationErrorRate(collar=2 * collar, skip_overlap=False)  # whose collar is that of both sides together
    uem = Timeline([Segment(0, seconds)])
    parts = metric(annotation(reference), annotation(found), uem=uem, detailed=True)
    return Errors(parts["total"], parts["missed detection"], parts["false alarm"], parts["confusion"])


def annotation(turns: Iterable[Spoken]) -> Annotation:
    made = Annotation(uri="recording")
    for track, (speaker, start, end) in enumerate(turns):
        made[Segment(start, end), track] = speaker
    return made


@dataclass(frozen=True, slots=True)
class Difference:
    frames: int
    """Frames in which others speak, with the speakers named as fits best."""
    near_ties: int
    """Those of them where the segmentation's two best classes are near each other in some window."""


def difference(ours: Sequence[Spoken], theirs: Sequence[Spoken], seconds: float, ties: Sequence[float]) -> Difference:
    """`ties`: the middles of frames that are near-ties, ascending, in seconds."""
    names = DiarizationErrorRate().optimal_mapping(
        annotation(theirs), annotation(ours), uem=Timeline([Segment(0, seconds)])
    )
    renamed = [Spoken(names.get(turn.speaker, f"other {turn.speaker}"), turn.start, turn.end) for turn in ours]
    differing = [
        (index + 0.5) * FRAME
        for index, (a, b) in enumerate(zip(by_frame(renamed, seconds), by_frame(theirs, seconds), strict=True))
        if a != b
    ]
    return Difference(len(differing), sum(_near(middle, ties) for middle in differing))


def by_frame(turns: Iterable[Spoken], seconds: float) -> list[frozenset[str]]:
    """Who speaks in the middle of each frame."""
    count = round(seconds / FRAME)
    speaking: list[frozenset[str]] = [frozenset()] * count
    for speaker, start, end in turns:
        for index in range(max(0, round(start / FRAME)), min(count, round(end / FRAME))):
            speaking[index] |= {speaker}
    return speaking


def _near(middle: float, ties: Sequence[float]) -> bool:
    at = bisect.bisect_left(ties, middle)
    return any(abs(tie - middle) <= FRAME for tie in ties[max(0, at - 1) : at + 1])

"""What Whisper heard in one stretch, on the clock of the recording."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class HeardWord(Protocol):
    """As faster-whisper gives it: seconds from the start of the stretch, with the spaces around the word."""

    start: float
    end: float
    word: str
    probability: float


class HeardSegment(Protocol):
    start: float
    end: float
    text: str

    @property
    def words(self) -> Sequence[HeardWord] | None: ...


@dataclass(frozen=True, slots=True)
class Passage:
    """What was heard in one stretch, and in which language."""

    segments: Sequence[HeardSegment]
    language: str
    probability: float


def spoken(passage: Passage, start: float, end: float, after: float) -> list[dict[str, Any]]:
    """The fields of SpokenSegments. Times lie within the stretch from `start` to `end`; no word begins before the one
    before it has ended, of which the last ended at `after`. All in seconds.
    """
    clock = _Clock(start, end, after)
    return [_segment(segment, clock) for segment in passage.segments]


def text(passage: Passage) -> str:
    """All that was said. It begins with a space, in languages that have any."""
    return "".join(segment.text for segment in passage.segments)


class _Clock:
    """Only goes on, in whole milliseconds, up to the end of the stretch."""

    def __init__(self, start: float, end: float, now: float) -> None:
        self._start, self._end = start, math.floor(end * 1000)
        self._now = min(round(now * 1000), self._end)

    def at(self, seconds: float) -> float:
        """A time of the stretch as one of the recording; not before the one that was last asked for."""
        if math.isfinite(seconds):
            self._now = max(self._now, min(round((self._start + seconds) * 1000), self._end))
        return self._now / 1000


def _segment(segment: HeardSegment, clock: _Clock) -> dict[str, Any]:
    words = [_word(word, clock) for word in segment.words or ()]
    begin, end = (words[0]["start"], words[-1]["end"]) if words else (clock.at(segment.start), clock.at(segment.end))
    return {"start": begin, "end": end, "text": segment.text.strip(), "words": words}


def _word(word: HeardWord, clock: _Clock) -> dict[str, Any]:
    probability = float(word.probability)
    return {
        "word": word.word,
        "start": clock.at(word.start),
        "end": clock.at(word.end),
        "probability": round(min(max(probability, 0.0), 1.0), 4) if math.isfinite(probability) else 0.0,
    }

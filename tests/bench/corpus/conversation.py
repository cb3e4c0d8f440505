"""Lines put one after another, and sometimes over each other, with what that makes of the reference."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tests.bench.corpus.clips import RATE, Clip
from tests.bench.corpus.recipes import Recipe
from tests.bench.corpus.reference import Spoken
from tests.bench.corpus.voices import Say, Voice

Progress = Callable[[float], None]
"""Told the seconds that are there."""

_SAME_AGAIN = 0.15
_LONG_PAUSE = 0.03
_LINES_A_TURN = (0.55, 0.3, 0.15)


@dataclass(frozen=True, slots=True)
class Placed:
    voice: str
    clip: Clip
    at: float
    """Seconds."""

    @property
    def end(self) -> float:
        return self.at + len(self.clip.samples) / RATE


@dataclass
class Conversation:
    """Turns are drawn until `seconds` are full. Nobody speaks over himself."""

    recipe: Recipe
    cast: Mapping[str, Voice]
    random: np.random.Generator
    placed: list[Placed] = field(default_factory=list)
    _end: float = 0.0
    """Of the last turn."""
    _spoken: float = 0.0
    _overlapped: float = 0.0

    def __post_init__(self) -> None:
        self._lines = {name: self._deck(voice.lines) for name, voice in self.cast.items()}
        self._nods = {name: self._deck(voice.nods) for name, voice in self.cast.items()}
        self._free = dict.fromkeys(self.cast, 0.0)
        self._said = dict.fromkeys(self.cast, 0.0)
        names = list(self.cast)
        self._talkative = dict(zip(names, self.random.uniform(0.4, 1.0, len(names)), strict=True))

    def hold(self, progress: Progress) -> list[Placed]:
        """All that is said, with the last line beyond the end perhaps."""
        names = [str(name) for name in self.random.permutation(list(self.cast))]
        speaker = names[0]
        while self._end < self.recipe.seconds:
            speaker = names.pop(0) if names else self._next(speaker)
            self._turn(speaker)
            progress(min(self._end, self.recipe.seconds))
        return self.placed

    def _next(self, last: str) -> str:
        if self.random.random() < _SAME_AGAIN:
            return last
        others = [name for name in self.cast if name != last] or [last]
        weights = np.array([self._talkative[name] / (5 + self._said[name]) for name in others])
        return str(self.random.choice(others, p=weights / weights.sum()))

    def _turn(self, speaker: str) -> None:
        began = at = max(self._start(), self._free[speaker] + 0.1, 0.0)
        for _ in range(1 + int(self.random.choice(len(_LINES_A_TURN), p=_LINES_A_TURN))):
            at = self._place(speaker, next(self._lines[speaker]), at) + self.random.uniform(0.15, 0.6)
        self._end = self._free[speaker]
        if len(self.cast) > 1 and self.random.random() < self.recipe.nods:
            self._nod(speaker, began)

    def _start(self) -> float:
        """Of the next turn: while the last one lasts where there is less overlap yet than there should be."""
        if self.placed and self._overlapped < self.recipe.overlap * self._spoken:
            last = self.placed[-1]
            return self._end - min(self.random.uniform(0.4, 2.5), 0.8 * (last.end - last.at))
        if self.random.random() < _LONG_PAUSE:
            return self._end + self.random.uniform(2, 6)
        return self._end + min(0.05 + self.random.exponential(0.4), 2.0)

    def _nod(self, speaker: str, began: float) -> None:
        other = str(self.random.choice([name for name in self.cast if name != speaker]))
        at = began + self.random.uniform(0.2, 0.8) * (self._end - began)
        if at > self._free[other] + 0.1:
            self._place(other, next(self._nods[other]), at)

    def _place(self, voice: str, clip: Clip, at: float) -> float:
        """Returns where it ends."""
        placed = Placed(voice, clip, at)
        already = sum(
            max(0.0, min(placed.end, other.end) - max(at, other.at))
            for other in self.placed[-4:]
            if other.voice != voice
        )
        self._overlapped += already
        self._spoken += placed.end - at - already
        self._said[voice] += placed.end - at
        self._free[voice] = placed.end
        self.placed.append(placed)
        return placed.end

    def _deck(self, says: Sequence[Say]) -> Iterator[Clip]:
        """All lines in a random order, and then again."""
        while True:
            for index in self.random.permutation(len(says)):
                if (clip := says[index]()) is not None:
                    yield clip


def reference(placed: Sequence[Placed], seconds: float) -> list[Spoken]:
    """The voice in each line, up to the end of the recording."""
    return [
        Spoken(line.voice, round(line.at + start / RATE, 3), round(min(line.at + end / RATE, seconds), 3))
        for line in placed
        for start, end in line.clip.active
        if line.at + start / RATE < seconds - 0.001
    ]

"""Who speaks when, asked by time."""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable


class TurnIndex:
    """The recording, cut at every start and end of a turn: within a piece the same people speak.

    A question costs a binary search and a look at the pieces it covers, however many turns there are and however long
    they last: one turn over the whole recording is cut like all others. (Sorted turns with a running maximum of their
    ends would be walked back to the first one under such a turn.)

    Times are whole microseconds, so that sums are exact and what is equal compares equal.
    """

    def __init__(self, turns: Iterable[tuple[int, int, str]]) -> None:
        """Of (start, end, speaker), in any order. A turn that ends where it starts, or before, is none."""
        changes: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)
        for start, end, speaker in turns:
            if start < end:
                changes[start].append((speaker, 1))
                changes[end].append((speaker, -1))
        self._cuts = sorted(changes)
        self._speakers: list[tuple[str, ...]] = []
        """Who speaks from the cut of the same index to the next one. Nobody does from the last one on."""
        speaking: Counter[str] = Counter()
        for cut in self._cuts:
            for speaker, change in changes[cut]:
                speaking[speaker] += change
                if not speaking[speaker]:
                    del speaking[speaker]
            self._speakers.append(tuple(speaking))

    def pieces(self, start: int, end: int) -> range:
        """The indices of the pieces between two cuts that the span covers or touches from within."""
        first = max(bisect_right(self._cuts, start) - 1, 0)
        return range(first, min(bisect_left(self._cuts, end), len(self._cuts) - 1))

    def shares(self, start: int, end: int) -> dict[str, int]:
        """How long each speaker speaks within the span; turns of one speaker that overlap each other count once."""
        found: defaultdict[str, int] = defaultdict(int)
        for piece in self.pieces(start, end):
            length = min(end, self._cuts[piece + 1]) - max(start, self._cuts[piece])
            for speaker in self._speakers[piece]:
                found[speaker] += length
        return found

    def nearest(self, start: int, end: int, within: int) -> set[str]:
        """Who stops or starts nearest to a span in which nobody speaks, no farther away than `within`.

        Two speakers, or more, where the distance is the same.
        """
        following = bisect_left(self._cuts, end)
        sides: list[tuple[int, tuple[str, ...]]] = []
        if following > 0:
            sides.append((start - self._cuts[following - 1], self._speakers[following - 2]))
        if following < len(self._cuts):
            sides.append((self._cuts[following] - end, self._speakers[following]))
        distance = min((distance for distance, _ in sides if distance <= within), default=None)
        return {speaker for far, speakers in sides if far == distance for speaker in speakers}

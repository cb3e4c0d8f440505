"""What is pending, counted by the sweep in passing: nothing is listed for the sake of a number."""

from collections import Counter
from datetime import datetime

from schemas.topics import Layout, Topic
from turnstream.records import Mark, MarkState

RETRYING = "retrying"
"""The state, here, of a run that waits for its next try: where its event lies says nothing of its operation."""
Place = tuple[str, str]
"""Operation and lane."""


class Census:
    def __init__(self, layout: Layout | None, now: datetime) -> None:
        self._layout = layout
        self._now = now
        self.states: Counter[str] = Counter({state: 0 for state in (*MarkState, RETRYING)})
        self.pending: Counter[Place] = Counter()
        self.oldest: dict[Place, float] = {}
        """Seconds since the oldest of them was published."""

    def count(self, mark: Mark) -> None:
        retrying = mark.state is MarkState.QUEUED and mark.topic == Topic.JOBS_RETRY
        self.states[RETRYING if retrying else mark.state] += 1
        if mark.state is not MarkState.QUEUED or retrying or mark.partition is None or self._layout is None:
            return
        place = self._layout.place(mark.partition)
        if place is not None:
            self.pending[place] += 1
            age = (self._now - mark.at).total_seconds()
            self.oldest[place] = max(self.oldest.get(place, 0.0), age)

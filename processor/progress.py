"""Whether a worker gets on: a machine that answers, with partitions and a full queue, may still have stood still for hours.

What counts as getting on is a record that was settled, and a job of which the engine tells something: one of ten hours may be
all that is settled in a day. What a job wants of store and broker takes moments, so a job that waits for one of them for long
says that it is away, whatever the engine tells of others.
"""

import time
from collections.abc import Callable, Iterable

from processor.held import Held, Stage
from processor.moments import Standstill
from schemas.jobs import JobKey

IN_HAND = {Stage.OPENING, Stage.DELIVERING}
"""Between two steps that store or broker take part in."""
LOOKS = 60
"""Looks at what is held, within the limit: so exact it is known how long something lasts."""
LONGEST_PAUSE = 5.0


class Progress:
    def __init__(self, limit: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`limit`: seconds without progress after which the worker is stuck."""
        self._limit = limit
        self._clock = clock
        now = clock()
        self._settled = self._moved = self._answered = now
        self._in_hand: dict[tuple[JobKey, Stage], float] = {}
        self._behind = 0

    @property
    def pause(self) -> float:
        """Seconds until the next `look` is due."""
        return min(self._limit / LOOKS, LONGEST_PAUSE)

    # What happens

    def settled(self) -> None:
        """A record is done with."""
        self._settled = self._moved = self._clock()

    def moved(self) -> None:
        """The engine told something of a job."""
        self._moved = self._clock()

    def answered(self) -> None:
        """The broker did, asked for something that has nothing to do with jobs."""
        self._answered = self._clock()

    def look(self, helds: Iterable[Held], waiting: int, lag: int, resting: int = 0) -> None:
        """See what is held, how many jobs may be opened, how many records have not come from the broker yet, and how many rest
        until they are due.

        To be called every `pause` seconds.
        """
        now, here, open_ = self._clock(), resting, 0
        in_hand: dict[tuple[JobKey, Stage], float] = {}
        for held in helds:
            here += len(held.receipts)
            open_ += held.stage is Stage.OPEN
            if held.stage in IN_HAND:
                in_hand[held.id, held.stage] = self._in_hand.get((held.id, held.stage), now)
        self._in_hand, self._behind = in_hand, here + lag
        # What else is held waits for its time, for another worker or for a setting; it may hold back what is not here.
        if not (waiting or open_ or in_hand) and (here or not lag):
            self._moved = now

    # How it stands

    def now(self) -> Standstill:
        now = self._clock()
        return Standstill(behind=self._behind, settled=now - self._settled, stuck=self._stuck(now))

    def _stuck(self, now: float) -> str | None:
        if (silent := now - self._answered) > self._limit:
            return f"stuck: the broker has not answered for {silent:.0f} s"
        oldest = min(self._in_hand.values(), default=now)
        if (waited := now - oldest) > self._limit:
            return f"stuck: {self._behind} records behind, one waits for the store or the broker for {waited:.0f} s"
        if (idle := now - self._moved) > self._limit:
            return f"stuck: {self._behind} records behind, none settled for {idle:.0f} s"
        return None

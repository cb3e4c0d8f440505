"""Not faster than it is computed: as many runs wait in the broker as workers need to be busy, and no more.

What waits there is held by workers, looked through by each sweep, and would have to be cancelled one by one.
"""

import asyncio

from schemas.topics import Topic
from turnstream.bus.base import Bus
from turnstream.records import Mark

LOOK_EVERY = 1.0
"""Seconds between two questions how far the workers came."""


class Pace:
    """What was published counts as waiting until the workers' group has committed beyond it, and so does what others published
    before it into the same partitions.
    """

    def __init__(self, bus: Bus, group: str, ahead: int) -> None:
        """`ahead`: how many may wait."""
        self._bus = bus
        self._group = group
        self._ahead = ahead
        self._last: dict[int, int] = {}
        self._waiting = 0
        self._turn = asyncio.Lock()

    def note(self, mark: Mark) -> None:
        """This was published."""
        if mark.partition is not None and mark.offset is not None:
            self._last[mark.partition] = max(mark.offset, self._last.get(mark.partition, -1))
            self._waiting += 1

    async def keep(self) -> None:
        """Returns when one more may be published. Raises BrokerUnavailable."""
        async with self._turn:
            while self._waiting >= self._ahead:
                reaches = await self._bus.reach(Topic.JOBS, self._group)
                done = {number: max(reach.low, reach.committed or 0) for number, reach in reaches.items()}
                self._waiting = sum(max(0, last + 1 - done.get(number, 0)) for number, last in self._last.items())
                if self._waiting >= self._ahead:
                    await asyncio.sleep(LOOK_EVERY)

"""Runs whose failure may pass: their records on `gpu-jobs.retry` are held until they are due, then sent on to `gpu-jobs`.

They are held in memory alone. A record that is not sent on is not acknowledged: it comes again with its partition.
"""

import asyncio
import heapq
import math
import time
from collections.abc import Callable
from itertools import count

from processor.held import Held, header
from processor.receipts import Receipt
from schemas.jobs import JobKey

LONGEST_NAP = 60.0
"""Seconds after which the clock is looked at again: it may have been set."""


def due_at(held: Held, *, latest: float) -> float:
    """When the record says that it is due, in seconds since 1970, `latest` at most. One that does not say it is due now."""
    try:
        due = float(header(held.record, "not_before"))
    except ValueError:
        return 0.0
    return min(due, latest) if math.isfinite(due) else 0.0


class Retries:
    """Belongs to one event loop."""

    def __init__(
        self, due: Callable[[Held, Receipt], None], *, longest: float, clock: Callable[[], float] = time.time
    ) -> None:
        """`due` gets each record when its time has come; none waits for more than `longest` seconds."""
        self._due = due
        self._longest = longest
        self._clock = clock
        self._heap: list[tuple[float, int, Held, Receipt]] = []
        self._serial = count()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._heap)

    def hold(self, held: Held, receipt: Receipt) -> None:
        at = due_at(held, latest=self._clock() + self._longest)
        heapq.heappush(self._heap, (at, next(self._serial), held, receipt))
        self.look()

    def hasten(self, id: JobKey) -> None:
        """Have a run wait no longer: it was cancelled. One that does not wait here is no error."""
        if any(held.id == id for _, _, held, _ in self._heap):
            self._heap = [(0.0 if held.id == id else at, n, held, receipt) for at, n, held, receipt in self._heap]
            heapq.heapify(self._heap)
            self.look()

    def clear(self) -> None:
        """Their partitions are about to move."""
        self._heap.clear()
        self.look()

    def look(self) -> None:
        """Let go of what is due, and come back when the next one is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            _, _, held, receipt = heapq.heappop(self._heap)
            self._due(held, receipt)
        if self._heap:
            nap = min(self._heap[0][0] - now, LONGEST_NAP)
            self._timer = asyncio.get_running_loop().call_later(nap, self.look)

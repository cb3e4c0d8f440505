"""Which job is opened next. Pure: no broker, no engine, no event loop, no clock."""

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from schemas.jobs import Lane, Operation

JobKey = tuple[str, str]
"""(job id, run)"""

BATCH_SHARE = 4
"""While both lanes wait, one opening in so many goes to the batch lane."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A job that waits. `alone`: it was open when an engine died, so it may only hurt itself."""

    id: JobKey
    operation: Operation
    lane: Lane
    since: float
    """When the job was accepted: the older one goes first. Any scale, as long as all use the same."""
    alone: bool = False


class Scheduler:
    """Holds the tickets that wait and knows which jobs are open.

    Interactive before batch, but for the share of the batch lane; within a lane the operation whose head is oldest;
    within an operation the oldest first. A job marked `alone` goes before all others, when nothing else is open, and
    nothing is opened beside it: suspects come from a lost engine, so at that moment nothing is open anyway.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._waiting: dict[JobKey, Ticket] = {}
        self._queues: dict[tuple[Lane, Operation], list[tuple[float, JobKey]]] = {}
        self._suspects: deque[JobKey] = deque()
        self._open: dict[JobKey, Ticket] = {}
        self._openings_without_batch = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def open(self) -> frozenset[JobKey]:
        return frozenset(self._open)

    def add(self, ticket: Ticket) -> None:
        """Let a job wait. One that waits or is open already stays as it is."""
        if ticket.id in self._waiting or ticket.id in self._open:
            return
        self._waiting[ticket.id] = ticket
        if ticket.alone:
            self._suspects.append(ticket.id)
        else:
            heapq.heappush(self._queues.setdefault((ticket.lane, ticket.operation), []), (ticket.since, ticket.id))

    def remove(self, id: JobKey) -> bool:
        """Take a waiting job out; False where it does not wait."""
        ticket = self._waiting.pop(id, None)
        if ticket is None:
            return False
        if ticket.alone:
            self._suspects.remove(id)
        else:
            queue = self._queues[ticket.lane, ticket.operation]
            queue.remove((ticket.since, id))
            heapq.heapify(queue)
        return True

    def drop_all(self) -> list[Ticket]:
        """Take every waiting job out: its partition may go to another worker. Open jobs stay open."""
        dropped = list(self._waiting.values())
        self._waiting.clear()
        self._queues.clear()
        self._suspects.clear()
        return dropped

    def next(self) -> Ticket | None:
        """The job to open now, which then counts as open; None while none may be opened."""
        if len(self._open) >= self._capacity or any(ticket.alone for ticket in self._open.values()):
            return None
        if self._suspects:
            return None if self._open else self._take(self._suspects.popleft())
        queue = self._next_queue()
        if queue is None:
            return None
        _, id = heapq.heappop(queue)
        return self._take(id)

    def close(self, id: JobKey) -> None:
        """An open job has ended or was handed back; its place is free."""
        self._open.pop(id, None)

    def _take(self, id: JobKey) -> Ticket:
        ticket = self._open[id] = self._waiting.pop(id)
        return ticket

    def _next_queue(self) -> list[tuple[float, JobKey]] | None:
        interactive, batch = (min(self._of(lane), default=None, key=_head) for lane in (Lane.INTERACTIVE, Lane.BATCH))
        if batch is None or (interactive is not None and self._openings_without_batch < BATCH_SHARE - 1):
            # Counted only while batch jobs wait: a burst of the past gives them no right to the next openings.
            self._openings_without_batch = self._openings_without_batch + 1 if batch is not None else 0
            return interactive
        self._openings_without_batch = 0
        return batch

    def _of(self, lane: Lane) -> Iterator[list[tuple[float, JobKey]]]:
        return (queue for (of_lane, _), queue in self._queues.items() if of_lane is lane and queue)


def _head(queue: list[tuple[float, JobKey]]) -> tuple[float, JobKey]:
    return queue[0]

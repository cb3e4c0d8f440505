"""How many webhooks are under way at once: so many to one host, so many in all, and not all of them to hosts that fail, nor of
one owner.

A receiver that is slow or dead so takes a few places and no more, whatever waits for it; and so do all that one owner names.
"""

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass

from schemas.jobs import JobKey
from turnstream.records import QueuedWebhook

AT_ONCE = 128
"""In all."""
TO_FAILING = AT_ONCE // 2
"""To hosts whose last try failed."""
TO_ONE_HOST = 8
OF_ONE_OWNER = AT_ONCE * 3 // 4
"""To whatever hosts: whoever has a name has as many as it likes. More than TO_FAILING, so that those of an owner that fail leave
something to its others.
"""
WAITING = 256
"""In one lane. What is beyond is found in the queue again."""
HOSTS_KNOWN = 10_000
"""Hosts whose last try is remembered as failed."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A run whose webhook is to be looked at: found in the queue, or else heard."""

    job_id: str
    run: str
    queued: QueuedWebhook | None = None

    @property
    def key(self) -> JobKey:
        return self.job_id, self.run


@dataclass(frozen=True, slots=True)
class Lane:
    """What one owner has told to one host."""

    owner: str
    host: str


@dataclass(frozen=True, slots=True)
class Place:
    lane: Lane
    failing: bool
    """Whether it counts among those of failing hosts."""


class Lanes:
    def __init__(self) -> None:
        self._to_host: Counter[str] = Counter()
        self._of_owner: Counter[str] = Counter()
        self._failing: dict[str, None] = {}
        self._failing_open = 0
        self._waiting: OrderedDict[Lane, deque[Visit]] = OrderedDict()

    def free(self, lane: Lane) -> bool:
        if self._to_host.total() >= AT_ONCE or self._of_owner[lane.owner] >= OF_ONE_OWNER:
            return False
        if self._to_host[lane.host] >= TO_ONE_HOST:
            return False
        return lane.host not in self._failing or self._failing_open < TO_FAILING

    def enter(self, lane: Lane) -> Place | None:
        """A place, to be left in the end; None where there is none."""
        if not self.free(lane):
            return None
        place = Place(lane, lane.host in self._failing)
        self._to_host[lane.host] += 1
        self._of_owner[lane.owner] += 1
        self._failing_open += place.failing
        return place

    def leave(self, place: Place, *, failed: bool) -> None:
        host = place.lane.host
        self._to_host -= Counter([host])  # which forgets a host that has none open
        self._of_owner -= Counter([place.lane.owner])
        self._failing_open -= place.failing
        self._failing.pop(host, None)
        if failed:
            self._failing[host] = None
            if len(self._failing) > HOSTS_KNOWN:
                del self._failing[next(iter(self._failing))]

    def wait(self, lane: Lane, visit: Visit) -> bool:
        """Have a visit wait for a place; False where too many do."""
        waiting = self._waiting.setdefault(lane, deque())
        if len(waiting) >= WAITING:
            return False
        waiting.append(visit)
        return True

    def next(self) -> Visit | None:
        """One that waited and has a place now; lanes take turns."""
        for lane, waiting in self._waiting.items():
            if self.free(lane):
                visit = waiting.popleft()
                self._waiting.move_to_end(lane)
                if not waiting:
                    del self._waiting[lane]
                return visit
        return None

"""How many webhooks are under way at once: so many to one host, so many in all, and not all of them to hosts that fail.

A receiver that is slow or dead so takes a few places and no more, whatever waits for it.
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
WAITING = 256
"""For one host. What is beyond is found in the queue again."""
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
class Place:
    host: str
    failing: bool
    """Whether it counts among those of failing hosts."""


class Lanes:
    def __init__(self) -> None:
        self._open: Counter[str] = Counter()
        self._failing: dict[str, None] = {}
        self._failing_open = 0
        self._waiting: OrderedDict[str, deque[Visit]] = OrderedDict()

    def free(self, host: str) -> bool:
        if self._open.total() >= AT_ONCE or self._open[host] >= TO_ONE_HOST:
            return False
        return host not in self._failing or self._failing_open < TO_FAILING

    def enter(self, host: str) -> Place | None:
        """A place, to be left in the end; None where there is none."""
        if not self.free(host):
            return None
        place = Place(host, host in self._failing)
        self._open[host] += 1
        self._failing_open += place.failing
        return place

    def leave(self, place: Place, *, failed: bool) -> None:
        self._open[place.host] -= 1
        self._open += Counter()  # without hosts that have none open
        self._failing_open -= place.failing
        self._failing.pop(place.host, None)
        if failed:
            self._failing[place.host] = None
            if len(self._failing) > HOSTS_KNOWN:
                del self._failing[next(iter(self._failing))]

    def wait(self, host: str, visit: Visit) -> bool:
        """Have a visit wait for a place; False where too many do."""
        waiting = self._waiting.setdefault(host, deque())
        if len(waiting) >= WAITING:
            return False
        waiting.append(visit)
        return True

    def next(self) -> Visit | None:
        """One that waited and has a place now; hosts take turns."""
        for host, waiting in self._waiting.items():
            if self.free(host):
                visit = waiting.popleft()
                self._waiting.move_to_end(host)
                if not waiting:
                    del self._waiting[host]
                return visit
        return None

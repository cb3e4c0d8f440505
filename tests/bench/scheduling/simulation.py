"""One GPU under a simulated clock: ways to serve a pattern of arrivals, and what came of it.

The engine does a second of work in a second, in steps; a step is filled from several jobs, urgent ones first. One model
is loaded at a time, and a load is time lost. What batches save and what decoding costs is the same for all.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from processor.scheduler import Scheduler, Swap, Ticket
from tests.bench.scheduling.patterns import Arrival, Pattern

POLL = 100
"""Milliseconds between two polls of the broker: until then a job lies in the backlog."""

QUEUE_LIMIT = 64
"""So many jobs of a model are held at most, the others stay in the backlog."""

CAPACITY = 16
TAKE_WITHIN = 200
"""Milliseconds for which a micro-batch is filled."""


@dataclass(slots=True)
class Outcome:
    """What came of a pattern. All times are milliseconds."""

    swaps: int = 0
    total: int = 0
    """When the last job ended."""
    waits: list[int] = field(default_factory=list)
    """From each job's arrival to the start of its first step."""
    away: list[tuple[str, int]] = field(default_factory=list)
    """A model and how long the head of its queue had waited for it when it was there again, counted from the job's arrival
    or from when the model was left, whichever is later."""
    visits: list[tuple[str, int, int]] = field(default_factory=list)
    """A model, when it was there, when it was left."""


@dataclass(slots=True, eq=False)
class _Job:
    arrival: Arrival
    left: int
    """Work that remains."""


class Gpu:
    """The clock, the model that is loaded, and the books."""

    def __init__(self, pattern: Pattern) -> None:
        self.now = 0
        self.model: str | None = None
        self.outcome = Outcome()
        self._pattern = pattern
        self._left: dict[str, int] = {}
        self._unended: dict[str, dict[int, _Job]] = {model: {} for model in pattern.loads}

    def expect(self, job: _Job) -> None:
        """A job of the pattern, told by arrival."""
        self._unended[job.arrival.model][id(job)] = job

    def swap(self, model: str) -> None:
        if self.model is not None:
            self.outcome.visits[-1] = (self.model, self.outcome.visits[-1][1], self.now)
            self._left[self.model] = self.now
        self.now += self._pattern.loads[model]
        head = next(iter(self._unended[model].values()), None)
        if head is not None and head.arrival.at < self.now:
            self.outcome.away.append((model, self.now - max(head.arrival.at, self._left.get(model, 0))))
        self.model = model
        self.outcome.swaps += 1
        self.outcome.visits.append((model, self.now, self.now))

    def step(self, jobs: list[_Job]) -> list[_Job]:
        """Fill a step from these jobs, in this order; those that ended."""
        room, ended = self._pattern.step, []
        for job in jobs:
            if room == 0:
                break
            if job.left == job.arrival.work:
                self.outcome.waits.append(self.now - job.arrival.at)
            done = min(room, job.left)
            job.left -= done
            room -= done
            if job.left == 0:
                ended.append(job)
                del self._unended[job.arrival.model][id(job)]
        self.now += self._pattern.step - room
        self.outcome.total = self.now
        return ended

    def run(self, job: _Job) -> None:
        """One job, to its end."""
        if self.model != job.arrival.model:
            self.swap(job.arrival.model)
        while not self.step([job]):
            pass

    def close(self) -> Outcome:
        model, since, _ = self.outcome.visits[-1]
        self.outcome.visits[-1] = (model, since, self.now)
        return self.outcome


def _start(pattern: Pattern) -> tuple[Gpu, deque[_Job]]:
    gpu = Gpu(pattern)
    jobs = deque(_Job(arrival, arrival.work) for arrival in pattern.arrivals)
    for job in jobs:
        gpu.expect(job)
    return gpu, jobs


def arrival_order(pattern: Pattern) -> Outcome:
    gpu, jobs = _start(pattern)
    for job in jobs:
        gpu.now = max(gpu.now, job.arrival.at)
        gpu.run(job)
    return gpu.close()


def micro_batches(size: int) -> Callable[[Pattern], Outcome]:
    """So many events at most, or what came within TAKE_WITHIN; grouped by model, the loaded one first."""

    def serve(pattern: Pattern) -> Outcome:
        gpu, jobs = _start(pattern)
        while jobs:
            gpu.now = max(gpu.now, jobs[0].arrival.at)
            batch = list(_take(jobs, size, gpu.now + TAKE_WITHIN))
            gpu.now = gpu.now + TAKE_WITHIN if len(batch) < size else max(gpu.now, batch[-1].arrival.at)
            order = list(dict.fromkeys([gpu.model, *(job.arrival.model for job in batch)]))
            for job in sorted(batch, key=lambda job: order.index(job.arrival.model)):
                gpu.run(job)
        return gpu.close()

    return serve


def _take(jobs: deque[_Job], size: int, until: int) -> Iterator[_Job]:
    while jobs and size and jobs[0].arrival.at <= until:
        size -= 1
        yield jobs.popleft()


class Worker:
    """The scheduler as the worker asks it, between a broker that is polled and the engine."""

    def __init__(self, pattern: Pattern, scheduler: Scheduler) -> None:
        self._gpu, jobs = _start(pattern)
        self._coming = {model: deque(job for job in jobs if job.arrival.model == model) for model in pattern.loads}
        self._held = dict.fromkeys(pattern.loads, 0)
        self._jobs: dict[tuple[str, str], _Job] = {}
        self._open: dict[tuple[str, str], _Job] = {}
        self._scheduler = scheduler
        self._polled = 0

    def serve(self) -> Outcome:
        gpu = self._gpu
        while any(self._coming.values()) or self._jobs:
            self._poll()
            self._ask()
            if not self._compute():
                gpu.now = self._next_event()
        return gpu.close()

    def _poll(self) -> None:
        """Receive what had come by the last poll, as far as there is room."""
        at = self._gpu.now // POLL * POLL
        for model, jobs in self._coming.items():
            while jobs and jobs[0].arrival.at <= at and self._held[model] < QUEUE_LIMIT and at > self._polled:
                job = jobs.popleft()
                arrival = job.arrival
                id = (f"{arrival.at:09}-{model}-{len(jobs):06}", "live")
                self._jobs[id] = job
                self._held[model] += 1
                since, seconds = arrival.at / 1000, arrival.work / 1000
                self._scheduler.add(Ticket(id, model, arrival.lane, arrival.owner, since, seconds))
        self._polled = max(self._polled, at)

    def _ask(self) -> None:
        gpu = self._gpu
        backlog = {model for model, jobs in self._coming.items() if jobs and jobs[0].arrival.at <= gpu.now}
        while (answer := self._scheduler.next(gpu.now / 1000, backlog)) is not None:
            if isinstance(answer, Swap):
                began = gpu.now
                gpu.swap(answer.model)
                self._poll()
                self._scheduler.swap_takes(answer.model, (gpu.now - began) / 1000)
                self._scheduler.models(frozenset({answer.model}), frozenset())
            else:
                self._open[answer.id] = self._jobs[answer.id]
                self._held[answer.model] -= 1

    def _compute(self) -> bool:
        jobs = {self._open[id]: id for id in self._open if id in self._scheduler.open}
        if not jobs:
            return False
        for job in self._gpu.step(sorted(jobs, key=lambda job: (job.arrival.lane != "interactive", job.arrival.at))):
            self._scheduler.close(jobs[job])
            del self._open[jobs[job]], self._jobs[jobs[job]]
        return True

    def _next_event(self) -> int:
        now = self._gpu.now
        first = min((jobs[0].arrival.at for jobs in self._coming.values() if jobs), default=None)
        poll = None if first is None else max(math.ceil(first / POLL) * POLL, (now // POLL + 1) * POLL)
        wake = self._scheduler.wake_at(now / 1000)
        times = [time for time in (poll, None if wake is None else math.ceil(wake * 1000)) if time is not None]
        if not times or min(times) <= now:
            raise RuntimeError(f"nothing would ever happen after {now} ms")
        return min(times)


def sticky(max_wait: int, max_run: int, linger: int) -> Callable[[Pattern], Outcome]:
    def serve(pattern: Pattern) -> Outcome:
        rules = {"max_wait": max_wait / 1000, "linger": linger / 1000, "step": pattern.step / 1000}
        return Worker(pattern, Scheduler(CAPACITY, max_run=max_run, **rules)).serve()

    return serve

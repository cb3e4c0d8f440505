"""Hears what became of jobs: wakes those who wait for a result, and knows how far a running job is."""

import asyncio
import logging
import time
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Generator
from contextlib import aclosing, contextmanager
from itertools import chain

from producer_api.threads import Threads
from schemas.errors import Busy, EventError, JobNotFound, StoreUnavailable
from schemas.events import JOB_PROGRESSED, Event
from schemas.jobs import JobKey, JobProgressed, Progress
from schemas.topics import Topic
from turnstream.bus.base import Bus
from turnstream.records import Ending, Records

log = logging.getLogger("turnstream.api")

MAX_WAITERS = 256
MAX_STREAMS = 256
MAX_PROGRESS = 10_000
"""Runs whose latest progress is kept."""
POLL = 1.0
"""Seconds between two looks into the store while nothing is heard; they grow up to POLL_LIMIT."""
POLL_LIMIT = 5.0
CLOCK_SKEW = 5.0
"""Seconds the broker's clock may be behind ours."""


class Waiter:
    """One caller who waits for the end of one run, or for all that is heard of it."""

    def __init__(self, job_id: str, run: str, *, streams: bool = False) -> None:
        self.job_id = job_id
        self.run = run
        self.streams = streams
        self.heard = asyncio.Event()


class Results:
    """The object store is the truth; an event only says when to look, so a missed one delays and never loses."""

    def __init__(self, bus: Bus, records: Records, threads: Threads) -> None:
        self._bus = bus
        self._records = records
        self._threads = threads
        self._since = time.time() - CLOCK_SKEW
        self._waiters: defaultdict[JobKey, set[Waiter]] = defaultdict(set)
        self._count: Counter[bool] = Counter()
        self._progress: OrderedDict[JobKey, Progress] = OrderedDict()
        self._released = False
        self.on_end: list[Callable[[str, str], None]] = []
        """Who is told of each end that is heard: job id and run."""

    @contextmanager
    def waiter(self, job_id: str, run: str, *, published: bool = False) -> Generator[Waiter]:
        """To be entered before the job is published, or else to be told so. Raises Busy where too many wait already."""
        waiter = Waiter(job_id, run)
        with self._listening(waiter, MAX_WAITERS, "callers are waiting for a result"):
            if published:
                waiter.heard.set()  # its end may have been told before
            yield waiter

    @contextmanager
    def stream(self, job_id: str, run: str) -> Generator[Waiter]:
        """A waiter that hears of progress, too. Raises Busy where there are too many already."""
        waiter = Waiter(job_id, run, streams=True)
        with self._listening(waiter, MAX_STREAMS, "callers are listening to events"):
            yield waiter

    @property
    def waiting(self) -> int:
        return self._count[False]

    @property
    def streaming(self) -> int:
        return self._count[True]

    @contextmanager
    def _listening(self, waiter: Waiter, limit: int, who: str) -> Generator[None]:
        if self._count[waiter.streams] >= limit:
            raise Busy(f"{limit} {who}; ask GET /api/v1/jobs/{{id}} now and then instead")
        key = waiter.job_id, waiter.run
        self._count[waiter.streams] += 1
        self._waiters[key].add(waiter)
        try:
            yield
        finally:
            self._count[waiter.streams] -= 1
            self._waiters[key].discard(waiter)
            if not self._waiters[key]:
                del self._waiters[key]

    async def wait(self, waiter: Waiter, seconds: float) -> Ending | None:
        """How the run ended; None where it has not within `seconds`, its job is erased meanwhile, or the service is stopping.
        Looked at once in any case.
        """
        deadline = time.monotonic() + seconds
        pause = POLL
        while not self._released:
            left = max(deadline - time.monotonic(), 0.0)
            try:
                async with asyncio.timeout(min(pause, left)):
                    await waiter.heard.wait()
            except TimeoutError:
                pause = min(pause * 1.5, POLL_LIMIT)
            waiter.heard.clear()
            try:
                ending = await self._threads.run(self._ending, waiter)
            except JobNotFound:
                return None
            if ending is not None or time.monotonic() >= deadline:
                return ending
        return None

    def _ending(self, waiter: Waiter) -> Ending | None:
        """Raises JobNotFound where there will be none. Blocks."""
        try:
            ending = self._records.ending(waiter.job_id, waiter.run)
            if ending is None and not self._records.has_job(waiter.job_id):
                raise JobNotFound(f"There is no job {waiter.job_id}")
        except StoreUnavailable as error:  # it may be back for the next look, and the job goes on anyway
            log.warning("the result of job %s could not be looked for: %s", waiter.job_id, error.detail)
            return None
        return ending

    def wake(self, job_id: str, run: str) -> None:
        """Let those who wait for this run look into the store now."""
        self._progress.pop((job_id, run), None)
        for waiter in self._waiters.get((job_id, run), ()):
            waiter.heard.set()
        for tell in self.on_end:
            tell(job_id, run)

    def release(self) -> None:
        """Send everybody who waits away: the service is stopping."""
        self._released = True
        for waiter in chain.from_iterable(self._waiters.values()):
            waiter.heard.set()

    @property
    def released(self) -> bool:
        return self._released

    def progress(self, job_id: str, run: str) -> Progress | None:
        return self._progress.get((job_id, run))

    # Readers, each to be run for ever

    async def read_results(self, topic: str) -> None:
        async with aclosing(self._bus.read(topic, since=self._since)) as records:  # pyright: ignore[reportArgumentType]
            async for record in records:
                try:
                    event = Event.parse(record.headers, record.value)
                except EventError as error:
                    log.warning("%s is no result: %s", record.position, error.detail)
                    continue
                job_id, _, run = event.id.partition("/")
                self.wake(job_id, run)

    async def read_progress(self) -> None:
        async with aclosing(self._bus.read(Topic.JOB_PROGRESS, since=self._since)) as records:  # pyright: ignore[reportArgumentType]
            async for record in records:
                try:
                    event = Event.parse(record.headers, record.value).read(JOB_PROGRESSED, JobProgressed)
                except EventError as error:
                    log.warning("%s is no progress: %s", record.position, error.detail)
                    continue
                key = event.job_id, event.run
                self._progress[key] = event.progress
                self._progress.move_to_end(key)
                if len(self._progress) > MAX_PROGRESS:
                    self._progress.popitem(last=False)
                for waiter in self._waiters.get(key, ()):
                    if waiter.streams:
                        waiter.heard.set()

"""Asks for the runs of a replay: those that are missing, however often it is started."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_exponential

from schemas.errors import (
    InfrastructureError,
    InvalidRequest,
    JobNotFound,
    RunExists,
    TurnstreamError,
    UnknownOperation,
)
from schemas.jobs import Job, Lane, Params
from schemas.topics import JOB_EVENT_LIMIT
from turnstream import points
from turnstream.bus.base import Bus, Reaches
from turnstream.further_runs import FurtherRuns
from turnstream.operations import Operations
from turnstream.publishing import requested
from turnstream.records import Glimpse, Records, ReplayRequest, RunRequest, Source
from turnstream.replay import candidates
from turnstream.replay.asking import params_of
from turnstream.replay.pace import Pace
from turnstream.replay.stopping import SOURCE, cancel_runs
from turnstream.resumable import Outcome, Tally, publish
from turnstream.settings import Settings

log = logging.getLogger("turnstream.replay")
T = TypeVar("T")

LOOK_EVERY = 1.0
"""Seconds between two looks at whether the replay was cancelled."""
TRIES = 8
"""Of one job, where a broker or a store is away."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds between the first two of them, then twice as many each time, and at most."""


class Publisher:
    def __init__(
        self,
        settings: Settings,
        bus: Bus,
        records: Records,
        operations: Operations,
        name: str,
        request: ReplayRequest,
        *,
        ahead: int,
    ) -> None:
        """`name`: of the replay and of its runs. `ahead`: how many of them may wait in the broker."""
        self._settings = settings
        self._bus = bus
        self._records = records
        self._operations = operations
        self._name = name
        self._request = request
        self._pace = Pace(bus, settings.consumer_group, ahead)
        self._further: FurtherRuns | None = None
        self._reaches: Reaches = {}
        self._under_way: set[str] = set()
        self._tally = Tally()
        self.total = 0
        """Jobs to be looked at."""
        self.cancelled = False
        """Whether it ended because it was cancelled."""

    async def look(self) -> None:
        """Find out how many jobs there are. Raises BrokerUnavailable, StoreUnavailable, LayoutMismatch."""
        if self._request.source is Source.TOPIC:
            self._reaches = await candidates.reaches(self._bus, self._request)
            self.total = sum(max(0, end - first) for first, end in self._reaches.values())
            return
        async with aclosing(self._of_record()) as found:
            async for _ in found:
                self.total += 1

    async def publish(self, at_once: int, tell: Callable[[Tally], None]) -> Tally:
        """After `look`. Ends early where the replay is cancelled meanwhile; then nothing of it is left to be computed."""
        self._further = await FurtherRuns.on(self._bus, self._records, SOURCE)
        work = asyncio.ensure_future(self._all(self._ask, at_once, tell))
        cancelled = asyncio.ensure_future(self._until_cancelled())
        try:
            await asyncio.wait({work, cancelled}, return_when=asyncio.FIRST_COMPLETED)
            self.cancelled = cancelled.done()
            await (cancelled if self.cancelled else work)
        finally:
            work.cancel()
            cancelled.cancel()
            await asyncio.gather(work, cancelled, return_exceptions=True)
        if self.cancelled:
            await cancel_runs(self._settings, self._bus, self._records, self._name, self._request, lambda _: None)
        return self._tally

    async def rehearse(self, at_once: int, tell: Callable[[Tally], None]) -> Tally:
        """After `look`: what `publish` would do, without doing it."""
        await self._all(self._would_ask, at_once, tell)
        return self._tally

    async def _all(
        self, ask: Callable[[Job, Params], Awaitable[bool]], at_once: int, tell: Callable[[Tally], None]
    ) -> None:
        def told(tally: Tally) -> None:
            self._tally = tally
            tell(tally)

        if self._request.source is Source.TOPIC:
            events = candidates.of_topic(self._bus, self._reaches)
            await publish(events, lambda job_id: self._of_event(job_id, ask), at_once=at_once, tell=told)
        else:
            await publish(self._of_record(), lambda found: self._one(found, ask), at_once=at_once, tell=told)

    def _of_record(self) -> AsyncGenerator[Glimpse, None]:
        found = candidates.glimpses(self._settings, self._records, self._request, self._name)
        return candidates.stepwise(
            glimpse for glimpse in found if candidates.is_meant(self._records, self._request, glimpse)
        )

    # One job

    async def _of_event(self, job_id: str | None, ask: Callable[[Job, Params], Awaitable[bool]]) -> Outcome:
        if job_id is None or job_id in self._under_way:  # an event may have copies
            return Outcome.LEFT
        self._under_way.add(job_id)
        try:
            glimpse = await _patiently(
                lambda: asyncio.to_thread(candidates.glimpse_of, self._records, job_id, self._name)
            )
            if not await asyncio.to_thread(candidates.is_meant, self._records, self._request, glimpse):
                return Outcome.LEFT
            return await self._one(glimpse, ask)
        finally:
            self._under_way.discard(job_id)

    async def _one(self, glimpse: Glimpse, ask: Callable[[Job, Params], Awaitable[bool]]) -> Outcome:
        if "ended" in glimpse.run:
            return Outcome.THERE
        try:
            wanted = await _patiently(lambda: asyncio.to_thread(self._wanted, glimpse.job_id))
            if wanted is None:
                return Outcome.LEFT
            return Outcome.DONE if await ask(*wanted) else Outcome.THERE
        except JobNotFound:  # erased meanwhile
            return Outcome.LEFT
        except TurnstreamError as error:
            log.warning("job %s: %s", glimpse.job_id, error.detail)
            return Outcome.FAILED

    def _wanted(self, job_id: str) -> tuple[Job, Params] | None:
        """The job, and the parameters of its run; None where it is not meant. Raises JobNotFound, UnknownOperation,
        InvalidRequest. Blocks.
        """
        job = self._records.job(job_id)
        if self._request.operation not in {None, job.operation} or not candidates.accepted_between(self._request, job):
            return None
        operation = self._operations.get(job.operation)
        if operation is None:
            raise UnknownOperation(f"the operation {job.operation} is not installed here")
        params = params_of(self._request, operation, job)
        if params is not None:
            event = requested(job.model_copy(update={"params": params}), self._name)
            if (size := len(event.model_dump_json(exclude_none=True).encode())) > JOB_EVENT_LIMIT:
                raise InvalidRequest(f"its job event would have {size} bytes, {JOB_EVENT_LIMIT} at most")
        return None if params is None else (job, params)

    async def _ask(self, job: Job, params: Params) -> bool:
        """Whether the run was asked for now. Raises RunExists, and what `FurtherRuns.ask` raises."""
        wanted = RunRequest(params=params, created_at=datetime.now(UTC), lane=Lane.BATCH)
        stands = await _patiently(lambda: asyncio.to_thread(self._records.request_run, job.id, self._name, wanted))
        if (stands.params, stands.lane) != (wanted.params, wanted.lane):
            raise RunExists(f"it has a run {self._name} that was asked for with other parameters, not by this replay")
        points.passing("replay.requested")
        return await _patiently(lambda: self._publish(stands.applied_to(job)))

    async def _publish(self, job: Job) -> bool:
        await self._pace.keep()
        try:
            if self._further is None:
                self._further = await FurtherRuns.on(self._bus, self._records, SOURCE)
            mark = await self._further.ask(job, self._name)
        except InfrastructureError:
            self._further = None  # the topics may have been made anew
            raise
        if mark is not None:
            self._pace.note(mark)
        return mark is not None

    async def _would_ask(self, job: Job, params: Params) -> bool:
        del params
        return not await asyncio.to_thread(self._records.has_run, job.id, self._name)

    async def _until_cancelled(self) -> None:
        while True:
            with suppress(InfrastructureError):
                if await asyncio.to_thread(self._records.replay_cancelled, self._name):
                    return
            await asyncio.sleep(LOOK_EVERY)


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """A broker or a store that is away for a moment ends no replay. Raises its error in the end."""

    async def call() -> T:
        return await ask()

    retrying = AsyncRetrying(
        retry=retry_if_exception_type(InfrastructureError),
        stop=stop_after_attempt(TRIES),
        wait=wait_exponential(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE),
        before_sleep=_tell,
        reraise=True,
    )
    return await retrying(call)


def _tell(state: RetryCallState) -> None:
    log.info("waiting %g s: %s", state.upcoming_sleep, state.outcome.exception() if state.outcome else None)

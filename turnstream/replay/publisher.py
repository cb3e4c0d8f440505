"""Asks for the runs of a replay: those that are missing, however often it is started."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from schemas.errors import InfrastructureError
from schemas.jobs import Job, Lane, Params
from turnstream import points
from turnstream.bus.base import Bus
from turnstream.further_runs import FurtherRuns
from turnstream.operations import Operations
from turnstream.records import Records, ReplayRequest, RunRequest
from turnstream.replay.pace import Pace
from turnstream.replay.retrying import patiently
from turnstream.replay.stopping import SOURCE, cancel_runs
from turnstream.replay.survey import Survey
from turnstream.replay.wanted import require_same
from turnstream.resumable import Tally
from turnstream.settings import Settings

LOOK_EVERY = 1.0
"""Seconds between two looks at whether the replay was cancelled."""


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
        self._tally = Tally()
        self.survey = Survey(settings, records, operations, name, request, bus)
        """To have a look with, before anything is published."""
        self.cancelled = False
        """Whether it ended because it was cancelled."""

    async def publish(self, at_once: int, tell: Callable[[Tally], None]) -> Tally:
        """Ends early where the replay is cancelled meanwhile; then nothing of it is left to be computed."""

        def told(tally: Tally) -> None:
            self._tally = tally
            tell(tally)

        self._further = await FurtherRuns.on(self._bus, self._records, SOURCE)
        work = asyncio.ensure_future(self.survey.each(self._ask, at_once, told))
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

    async def _ask(self, job: Job, params: Params) -> bool:
        """Whether the run was asked for now. Raises RunExists, and what `FurtherRuns.ask` raises."""
        request = RunRequest(params=params, created_at=datetime.now(UTC), lane=Lane.BATCH)
        stands = await patiently(lambda: asyncio.to_thread(self._records.request_run, job.id, self._name, request))
        require_same(self._operations[job.operation], self._name, stands, params)
        points.passing("replay.requested")
        return await patiently(lambda: self._publish(stands.applied_to(job)))

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

    async def _until_cancelled(self) -> None:
        while True:
            with suppress(InfrastructureError):
                if await asyncio.to_thread(self._records.replay_cancelled, self._name):
                    return
            await asyncio.sleep(LOOK_EVERY)

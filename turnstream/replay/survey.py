"""The jobs of a replay, one after the other: which of them are to get their run."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from schemas.errors import JobNotFound, TurnstreamError
from schemas.jobs import Job, Params
from turnstream.bus.base import Bus, Reaches
from turnstream.operations import Operations
from turnstream.records import Glimpse, Records, ReplayRequest, Source
from turnstream.replay import candidates
from turnstream.replay.retrying import patiently
from turnstream.replay.wanted import wanted
from turnstream.resumable import Outcome, Tally, publish
from turnstream.settings import Settings

log = logging.getLogger("turnstream.replay")

Ask = Callable[[Job, Params], Awaitable[bool]]
"""Has a run asked for; False where it was before."""


class Survey:
    def __init__(
        self,
        settings: Settings,
        records: Records,
        operations: Operations,
        name: str,
        request: ReplayRequest,
        bus: Bus | None = None,
    ) -> None:
        """`name`: of the replay and of its runs. `bus`: None will do where the jobs are found in the record."""
        if request.source is Source.TOPIC and bus is None:
            raise ValueError("a topic is read from a broker")
        self._settings = settings
        self._records = records
        self._operations = operations
        self._name = name
        self._request = request
        self._topic = bus if request.source is Source.TOPIC else None
        self._reaches: Reaches = {}
        self._under_way: set[str] = set()
        self.total = 0
        """Jobs to be looked at."""

    async def look(self) -> None:
        """Find out how many jobs there are. Raises BrokerUnavailable, StoreUnavailable."""
        if self._topic is not None:
            self._reaches = await candidates.reaches(self._topic, self._request)
            self.total = sum(max(0, end - first) for first, end in self._reaches.values())
            return
        async with aclosing(self._of_record()) as found:
            async for _ in found:
                self.total += 1

    async def each(self, ask: Ask, at_once: int, tell: Callable[[Tally], None]) -> Tally:
        """After `look`: all jobs that are meant and have no such run yet."""
        if self._topic is not None:
            events = candidates.of_topic(self._topic, self._reaches)
            return await publish(events, lambda job_id: self._of_event(job_id, ask), at_once=at_once, tell=tell)
        return await publish(self._of_record(), lambda found: self._one(found, ask), at_once=at_once, tell=tell)

    async def rehearse(self, at_once: int, tell: Callable[[Tally], None]) -> Tally:
        """After `look`: what would be asked for, without doing it."""
        return await self.each(self._would_ask, at_once, tell)

    def _of_record(self) -> AsyncGenerator[Glimpse, None]:
        found = candidates.glimpses(self._settings, self._records, self._request, self._name)
        return candidates.stepwise(
            glimpse for glimpse in found if candidates.is_meant(self._records, self._request, glimpse)
        )

    # One job

    async def _of_event(self, job_id: str | None, ask: Ask) -> Outcome:
        if job_id is None or job_id in self._under_way:  # an event may have copies
            return Outcome.LEFT
        self._under_way.add(job_id)
        try:
            glimpse = await patiently(
                lambda: asyncio.to_thread(candidates.glimpse_of, self._records, job_id, self._name)
            )
            if not await asyncio.to_thread(candidates.is_meant, self._records, self._request, glimpse):
                return Outcome.LEFT
            return await self._one(glimpse, ask)
        finally:
            self._under_way.discard(job_id)

    async def _one(self, glimpse: Glimpse, ask: Ask) -> Outcome:
        try:
            found = await patiently(lambda: asyncio.to_thread(self._wanted, glimpse))
            if found is None:
                return Outcome.LEFT
            if "ended" in glimpse.run:
                return Outcome.THERE
            return Outcome.DONE if await ask(*found) else Outcome.THERE
        except JobNotFound:  # erased meanwhile
            return Outcome.LEFT
        except TurnstreamError as error:
            log.warning("job %s: %s", glimpse.job_id, error.detail)
            return Outcome.FAILED

    def _wanted(self, glimpse: Glimpse) -> tuple[Job, Params] | None:
        return wanted(self._records, self._operations, self._name, self._request, glimpse)

    async def _would_ask(self, job: Job, params: Params) -> bool:
        del params
        return not await asyncio.to_thread(self._records.has_run, job.id, self._name)

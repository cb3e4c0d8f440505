"""The sweep: what was accepted and then lost on its way is published again, what was never accepted is erased.

It compares the marks of the runs that have not ended with what the broker still has and how far the workers came. A long
backlog alone publishes nothing again.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum, auto
from typing import TypeVar

from producer_api.broker_watch import BrokerWatch
from producer_api.census import Census
from producer_api.metrics import Metrics
from producer_api.publishing import Publisher
from producer_api.threads import Threads
from schemas.errors import JobNotFound, TurnstreamError
from schemas.jobs import LIVE_RUN
from schemas.topics import Topic
from turnstream.bus.base import Bus, Reach
from turnstream.records import ERASURE, Mark, MarkState, Records, Witness
from turnstream.settings import Settings

log = logging.getLogger("turnstream.sweep")

LEASE = "sweep"
CONCURRENCY = 8
RETRY = 10.0
"""Seconds until another try where the sweep failed or somebody else holds the lease."""
FORGET_INTERVAL = 3600.0
"""Seconds between two looks at all that was promised under an Idempotency-Key."""
T = TypeVar("T")
Pending = tuple[str, str, Mark]


class Action(StrEnum):
    LEAVE = "left"
    PUBLISH = "published again"
    REMOVE_MARK = "marks removed"
    ERASE = "erased"


class End(Enum):
    """Of a run."""

    NONE = auto()
    UNTOLD = auto()
    """Of a queued run it is not looked for: it comes to the workers in any case."""
    TOLD = auto()
    """Its event was published."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the broker has of a topic."""

    topic_id: str
    """Its incarnation."""
    reaches: Mapping[int, Reach]

    def passed(self, witness: Witness) -> bool:
        reach = self.reaches.get(witness.partition)
        committed = None if reach is None or witness.topic_id != self.topic_id else reach.committed
        return committed is not None and committed > witness.offset


@dataclass(frozen=True, slots=True)
class Limits:
    """Times before which something began that will not come to its end any more."""

    accepted: datetime
    """A submission, or an erasure."""
    retried: datetime
    """The wait for a retry."""


def decide(mark: Mark, end: End, *, kept: Kept, limits: Limits) -> Action:
    """What to do about the mark of a run. `kept` is what the broker has of the mark's topic."""
    if mark.state is not MarkState.QUEUED:
        if mark.at >= limits.accepted:
            return Action.LEAVE
        if mark.state is MarkState.ERASING or end is End.NONE:
            return Action.ERASE
        return Action.REMOVE_MARK if end is End.TOLD else Action.PUBLISH
    reach = None if mark.partition is None else kept.reaches.get(mark.partition)
    if mark.topic_id != kept.topic_id or mark.offset is None or reach is None or mark.offset < reach.low:
        return Action.PUBLISH  # lost; where the run has ended, the worker only does the steps that are missing
    waits = reach.committed is None or reach.committed <= mark.offset
    # A mark may name a retry that never came to be: whoever moved it died before the record was there for good.
    if end is End.TOLD and not (waits and (mark.topic == Topic.JOBS or mark.at >= limits.retried)):
        return Action.REMOVE_MARK
    return Action.LEAVE if waits else Action.PUBLISH


NOTHING = Kept("", {})
"""Of a topic that is none of ours."""


class Sweeper:
    def __init__(
        self,
        settings: Settings,
        bus: Bus,
        records: Records,
        publisher: Publisher,
        watch: BrokerWatch,
        threads: Threads,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._bus = bus
        self._records = records
        self._publisher = publisher
        self._watch = watch
        self._threads = threads
        self._metrics = metrics
        self._holder = settings.api_holder
        self._wake = asyncio.Event()
        self._forgot = float("-inf")

    def wake(self) -> None:
        """Sweep now."""
        self._wake.set()

    async def run(self) -> None:
        """Sweep when woken, and every sweep_interval; for ever."""
        delay = self._settings.sweep_interval
        while True:
            try:
                async with asyncio.timeout(delay):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                swept = await self.sweep()
            except TurnstreamError as error:
                log.warning("the sweep will be tried again: %s", error.detail)
                swept = None
            delay = self._settings.sweep_interval if swept is not None else min(RETRY, self._settings.sweep_interval)

    async def sweep(self) -> Counter[Action] | None:
        """One turn over all marks; None where another process sweeps. Raises BrokerUnavailable, StoreUnavailable."""
        lease = max(self._settings.sweep_interval * 1.5, 30)
        if not await self._threads.run(self._records.take_lease, LEASE, self._holder, lease):
            self._metrics.not_sweeping()
            return None
        began = time.monotonic()
        kept, census = await self._look(), Census(self._watch.layout, datetime.now(UTC))
        done: Counter[Action] = Counter()
        marks = self._records.pending()
        while batch := await self._threads.take(marks, CONCURRENCY):
            for _, _, mark in batch:
                census.count(mark)
            done.update(await asyncio.gather(*(self._settle(pending, kept) for pending in batch)))
        seen = {action.name.lower(): count for action, count in done.items()}
        self._metrics.swept(seen, time.monotonic() - began, census)
        if time.monotonic() - self._forgot > FORGET_INTERVAL:
            await self._forget_promises()
            self._forgot = time.monotonic()
        if done.total() > done[Action.LEAVE]:
            log.info("swept %s", ", ".join(f"{count} {action}" for action, count in done.items()))
        return done

    async def close(self) -> None:
        try:
            await self._threads.run(self._records.give_back_lease, LEASE, self._holder)
        except TurnstreamError as error:
            log.debug("the lease stays until its end: %s", error.detail)

    async def _look(self) -> dict[str, Kept]:
        """By topic; empty while the broker has not answered yet. Raises BrokerUnavailable."""
        jobs_id = self._watch.topic_id
        if jobs_id is None:
            return {}
        retry_id = await self._bus.topic_id(Topic.JOBS_RETRY)
        ids = {str(Topic.JOBS): jobs_id, str(Topic.JOBS_RETRY): retry_id or ""}
        group = self._settings.consumer_group
        return {topic: Kept(topic_id, await self._bus.reach(topic, group)) for topic, topic_id in ids.items()}

    async def _kept_for(self, mark: Mark, kept: Mapping[str, Kept]) -> Mapping[str, Kept]:
        """By the offsets of the group that a run waits for."""
        if mark.group is None or mark.topic not in kept:
            return kept
        return {mark.topic: Kept(kept[mark.topic].topic_id, await self._bus.reach(mark.topic, mark.group))}

    async def _settle(self, pending: Pending, kept: Mapping[str, Kept]) -> Action:
        job_id, run, mark = pending
        if not kept and mark.state is MarkState.QUEUED:
            return Action.LEAVE  # nothing can be said about what the broker has
        try:
            action = await self._decide(job_id, run, mark, await self._kept_for(mark, kept))
            if action is Action.PUBLISH and not kept:
                return Action.LEAVE
            await self._act(action, job_id, run, mark, kept)
        except TurnstreamError as error:
            log.warning("job %s, run %s: left for the next sweep: %s", job_id, run, error.detail)
            return Action.LEAVE
        return action

    async def _decide(self, job_id: str, run: str, mark: Mark, kept: Mapping[str, Kept]) -> Action:
        accepted = datetime.now(UTC) - timedelta(seconds=self._settings.accepting_limit)
        limits = Limits(accepted, accepted - timedelta(seconds=max(self._settings.retry_delays)))
        of = kept.get(mark.topic, NOTHING)
        actions = {end: decide(mark, end, kept=of, limits=limits) for end in End}
        # Most marks wait, or are lost, however their run stands: then the store need not be asked.
        alike = len(set(actions.values())) == 1
        return actions[End.NONE if alike else await self._threads.run(self._end, job_id, run, mark, kept)]

    def _end(self, job_id: str, run: str, mark: Mark, kept: Mapping[str, Kept]) -> End:
        """Blocks."""
        told = any(
            witness.attempt >= mark.attempt and kept.get(witness.topic, NOTHING).passed(witness)
            for witness in self._records.witnesses(job_id, run)
        )
        if told:
            return End.TOLD
        unlooked = mark.state is MarkState.QUEUED
        return End.NONE if unlooked or not self._records.ended(job_id, run) else End.UNTOLD

    async def _act(self, action: Action, job_id: str, run: str, mark: Mark, kept: Mapping[str, Kept]) -> None:
        match action:
            case Action.LEAVE:
                return
            case Action.PUBLISH:
                await self._publish(job_id, run, mark, kept[Topic.JOBS].topic_id)
            case Action.ERASE if run in (LIVE_RUN, ERASURE):
                await self._threads.run(self._erase, job_id, mark)
            case Action.ERASE:
                await self._threads.run(self._records.give_up_run, job_id, run, mark)
            case Action.REMOVE_MARK:
                await self._threads.run(self._records.clear_run, job_id, run)

    def _erase(self, job_id: str, mark: Mark) -> None:
        """Blocks. What somebody has just submitted again under its Idempotency-Key, and brought to its end, stays."""
        if mark.claim is None or self._records.give_up_claim(mark.claim, job_id):
            self._records.erase(job_id)

    async def _forget_promises(self) -> None:
        """Those of Idempotency-Keys that need not be remembered any longer."""
        kept = max(self._settings.idempotency_seconds, self._settings.accepting_limit)
        old = self._records.old_promises(datetime.now(UTC) - timedelta(seconds=kept))
        while batch := await self._threads.take(old, CONCURRENCY):
            await asyncio.gather(*(self._threads.run(self._forget_promise, entry) for entry in batch))

    def _forget_promise(self, entry: str) -> None:
        """Blocks. Of a job that was given up something may be left, where two processes had it in hand and one of them died."""
        if job_id := self._records.given_up_by(entry):
            self._records.erase(job_id)
        self._records.forget_promise(entry)

    async def _publish(self, job_id: str, run: str, mark: Mark, topic_id: str) -> None:
        try:
            job = await self._threads.run(self._records.job_of_run, job_id, run)
        except JobNotFound:  # erased meanwhile
            await self._threads.run(self._records.remove_mark, job_id, run)
            return
        await self._publisher.republish(job, run, topic_id, mark)

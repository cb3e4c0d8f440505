"""How a run comes to its end: result stored -> event acknowledged by the broker -> stages, mark removed -> offset committed.

Each step is repeated until it succeeds, so a store or broker that is away delays and never loses. Whoever is stopped in
the middle has not acknowledged the offset: the record comes again, and only the steps that are missing are done.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from processor.held import Held, run_named_by
from schemas.base import Value
from schemas.errors import (
    AttemptsExhausted,
    EngineCrashed,
    EngineHung,
    EngineOutOfMemory,
    ErrorInfo,
    InfrastructureError,
    JobNotFound,
)
from schemas.events import Event, event_id, new_traceparent
from schemas.jobs import Job, JobState
from schemas.results import RunCompleted, RunFailed
from schemas.topics import DEAD_LETTER_LIMIT, Layout, Topic
from turnstream.bus.base import Bus, Record
from turnstream.operations import Operations
from turnstream.records import CANCELLED, Damaged, Ending, Records, reference
from turnstream.settings import BrokerKind, KiB

logger = logging.getLogger(__name__)
T = TypeVar("T")

SOURCE = "turnstream/worker"
INLINE_LIMIT = {BrokerKind.EMBEDDED: 16 * KiB, BrokerKind.KAFKA: 256 * KiB}
"""Bytes up to which a completed event carries its result; the embedded broker keeps every event in memory."""
SUSPECT = {cls.code for cls in (AttemptsExhausted, EngineCrashed, EngineHung, EngineOutOfMemory)}
"""Ends that say something about the job event itself: an operator wants to see it."""
FIRST_DELAY, LONGEST_DELAY = 0.2, 10.0

Outcome = Value | ErrorInfo
"""The result of a run, of its operation's model, or why there is none."""


class Delivery:
    def __init__(self, records: Records, bus: Bus, layout: Layout, operations: Operations, broker: BrokerKind) -> None:
        self._records = records
        self._operations = operations
        self._bus = bus
        self._layout = layout
        self._inline_limit = INLINE_LIMIT[broker]

    async def end(self, held: Held, outcome: Outcome | None) -> None:
        """Bring a run to its end with `outcome`, or, where it is None, do what is missing of the end it has."""
        ending = await self._settle(held, outcome)
        if ending is not None:
            if ending.error is not None and ending.error.code in SUSPECT:
                await self.dead_letter(held.record, ending.error, held.attempts)
            event = self._event(held, ending)
            topic, partition = held.operation.topic, self._layout.result_partition(held.job.id)
            await persistently(
                f"publish the end of {held.job.id}",
                lambda: self._bus.publish(
                    topic, key=event.key, value=event.data, headers=event.headers, partition=partition
                ),
            )
            if held.operation.stages:  # also where the API stored the end, which is a cancel
                await self._in_thread(f"forget the stages of {held.job.id}", self._records.forget_stages, *held.id)
            await self._in_thread(f"remove the mark of {held.job.id}", self._records.remove_mark, *held.id)
        held.acknowledge()

    async def refuse(self, record: Record, error: ErrorInfo) -> None:
        """Set aside a record that cannot be read, and end the run it names with the same error: left pending, it would be
        published again by every sweep. The record is not acknowledged here.
        """
        await self.dead_letter(record, error, attempt=1)
        id = run_named_by(record)
        what = f"end what {record.position} names"
        if id is None or not await self._in_thread(what, self._records.is_pending, *id):
            return
        if not await self._in_thread(what, accepted, self._records, id[0]):
            return
        job = await self._in_thread(what, _readable, self._records, id[0])
        operation = self._operations.get(job.operation) if job is not None else None
        if job is not None and operation is not None:
            await self.end(Held(job, operation, id[1], new_traceparent(), record), error)
        else:  # as new as its event: on which topic its end belongs is not known here, so it is in the store alone
            await self._in_thread(what, self._records.put_error, *id, error)
            await self._in_thread(what, self._records.remove_mark, *id)

    async def dead_letter(self, record: Record, error: ErrorInfo, attempt: int) -> None:
        """Set a record aside as it came, with the reason in its headers. It is not acknowledged here."""
        ours = {"error": error.code.encode(), "attempt": str(attempt).encode(), "src": str(record.position).encode()}
        headers = (*((name, value) for name, value in record.headers if name not in ours), *ours.items())
        value = record.value
        if value is not None and len(value) > DEAD_LETTER_LIMIT:
            digest = hashlib.sha256(value).hexdigest()
            value = json.dumps({"src": str(record.position), "size": len(value), "sha256": digest}).encode()
        await persistently(
            f"set {record.position} aside",
            lambda: self._bus.publish(Topic.JOBS_DLQ, key=record.key, value=value, headers=headers, partition=0),
        )
        logger.warning("%s went to %s: %s: %s", record.position, Topic.JOBS_DLQ, error.code, error.detail)

    async def _settle(self, held: Held, outcome: Outcome | None) -> Ending | None:
        """The end of the run, stored if it had none. None where nothing is left to tell: told before, or erased."""
        what = f"store the end of {held.job.id}"
        found = await self._in_thread(what, self._records.ending, *held.id)
        if found is not None:
            # The mark is removed after the event: without it the event is out.
            return found if await self._in_thread(what, self._records.is_pending, *held.id) else None
        if outcome is not None and await self._in_thread(what, accepted, self._records, held.job.id):
            await self._in_thread(what, self._store, held, outcome)
        if not await self._in_thread(what, accepted, self._records, held.job.id):
            # Erased, maybe while something of it was being stored: nothing may stay.
            await self._in_thread(what, self._records.erase_unindexed, held.job.id)
            return None
        return await self._in_thread(what, self._records.ending, *held.id)

    def _store(self, held: Held, outcome: Outcome) -> None:
        if not isinstance(outcome, ErrorInfo):
            self._records.put_result(*held.id, outcome)
        elif ending_state(outcome) is JobState.CANCELLED:
            self._records.put_cancelled(*held.id)
        else:
            self._records.put_error(*held.id, outcome)

    def _event(self, held: Held, ending: Ending) -> Event:
        def of(type_: str, data: BaseModel) -> Event:
            return Event.of(type_, SOURCE, held.job.id, event_id(*held.id), data, held.traceparent)

        job_id, run = held.id
        if ending.state is not JobState.SUCCEEDED:
            return of(held.operation.failed, RunFailed(job_id=job_id, run=run, error=ending.error or CANCELLED))
        by_reference = RunCompleted[held.operation.result](job_id=job_id, run=run, object=reference(ending))
        if len(ending.body) <= self._inline_limit:
            with suppress(ValidationError):  # somebody else wrote it: whoever fetches it will see
                result = held.operation.result.model_validate_json(ending.body)
                inline = of(held.operation.completed, by_reference.model_copy(update={"result": result}))
                if len(inline.data) <= self._inline_limit:
                    return inline
        return of(held.operation.completed, by_reference)

    async def _in_thread(self, what: str, call: Callable[..., T], *args: object) -> T:
        return await persistently(what, lambda: asyncio.to_thread(call, *args))


def ending_state(outcome: Outcome) -> JobState:
    if not isinstance(outcome, ErrorInfo):
        return JobState.SUCCEEDED
    return JobState.CANCELLED if outcome.code == CANCELLED.code else JobState.FAILED


def accepted(records: Records, job_id: str) -> bool:
    """Whether there is such a job, however damaged; an erased one is gone. Blocks."""
    try:
        records.job(job_id)
    except JobNotFound:
        return False
    except Damaged:
        pass
    return True


def _readable(records: Records, job_id: str) -> Job | None:
    """Blocks."""
    try:
        return records.job(job_id)
    except (JobNotFound, Damaged):
        return None


async def persistently(what: str, step: Callable[[], Awaitable[T]]) -> T:
    """Repeat a step until it succeeds, with growing delays. Only cancelling ends it otherwise."""
    delay = FIRST_DELAY
    while True:
        try:
            return await step()
        except InfrastructureError as error:
            logger.warning("could not %s, trying again in %.1f s: %s", what, delay, error)
        except Exception:
            # Not foreseen, so worth a traceback; giving up would lose the job all the same.
            logger.exception("could not %s, trying again in %.1f s", what, delay)
        await asyncio.sleep(delay)
        delay = min(delay * 2, LONGEST_DELAY)

"""How a run comes to its end: result stored -> event told -> stages, mark removed -> record acknowledged.

Each step is repeated until it succeeds, so a store or broker that is away delays and never loses. What was interrupted comes
again with its record, and only the steps that are missing are done. An outbox with transactions settles the record with the
event: a mark that is left behind then goes when the record comes again, or with the sweep.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from processor.held import Held, retries_of
from processor.metrics import Metrics
from processor.outbox import Message, Outbox, Placed
from processor.persistence import persistently
from processor.receipts import Receipt
from processor.testimony import Testimony
from processor.topic_ids import TopicIds
from schemas import failures
from schemas.base import Value
from schemas.errors import ErrorInfo, InternalError, JobNotFound
from schemas.events import Event, event_id, new_traceparent
from schemas.jobs import Job, JobKey, JobState
from schemas.results import RunCompleted, RunFailed
from schemas.topics import Layout, Topic
from turnstream import points
from turnstream.bus.base import Bus, Position, Record
from turnstream.dead_letters import key_of, run_named_by, set_aside
from turnstream.operations import Operations
from turnstream.records import CANCELLED, Damaged, Ending, Mark, Records, Witnesses, reference
from turnstream.settings import BrokerKind, KiB

logger = logging.getLogger(__name__)
T = TypeVar("T")

SOURCE = "turnstream/worker"
INLINE_LIMIT = {BrokerKind.EMBEDDED: 16 * KiB, BrokerKind.KAFKA: 256 * KiB}
"""Bytes up to which a completed event carries its result; the embedded broker keeps every event in memory."""
Outcome = Value | ErrorInfo
"""The result of a run, of its operation's model, or why there is none."""


class Delivery:
    sets_aside = True
    """Whether what calls for an operator gets a dead letter."""

    def __init__(
        self,
        records: Records,
        bus: Bus,
        outbox: Outbox,
        layout: Layout,
        operations: Operations,
        broker: BrokerKind,
        metrics: Metrics,
    ) -> None:
        self._records = records
        self.metrics = metrics
        self._operations = operations
        self._bus = bus
        self._outbox = outbox
        self._layout = layout
        self._inline_limit = INLINE_LIMIT[broker]
        self._topic_ids = TopicIds(bus)
        self._testimony = Testimony(records, outbox, self._topic_ids)

    async def settled(self, held: Held) -> bool:
        """Whether nothing is left to do for a record that has come again. It, and its copies, are acknowledged then; a mark of a
        run whose end was told is removed.
        """
        settled = await self._settled(held)
        if not settled or len(settled) < len(held.receipts):
            return False
        await self._untold(held)
        held.acknowledge(settled)
        return not held.receipts

    async def begin(self, held: Held) -> bool:
        """Before a run is looked at to be opened. False where it is to be left as it is."""
        del held
        return True

    async def end(self, held: Held, outcome: Outcome | None, letter: Message | None = None) -> JobState | None:
        """Bring a run to its end with `outcome`, or, where it is None, do what is missing of the end it has. `letter` goes out
        with it, in place of the dead letter that the end itself may call for.

        Where its records are not ours any more it is not told: they come again, here or elsewhere, and it is told then.
        Returns how it ended if it was told here.
        """
        points.passing("delivery.computed")
        ending, told = None, False
        while not told:
            ending = await self._settle(held, outcome)
            if ending is not None:
                await self._testimony.complete(held, ending)
            points.passing("delivery.ended")
            messages = await self._messages(held, ending, letter)
            receipts = tuple(held.receipts)
            told = await self._outbox.send(messages, receipts)
            if told:
                points.passing("delivery.told")
                if ending is not None:
                    await self._clear(held)
                points.passing("delivery.unmarked")
                held.acknowledge(receipts)
                points.passing("delivery.acknowledged")
            elif not await self._anew(held, receipts):
                return None
        await self._settle_copies(held)
        return ending.state if ending is not None else None

    async def ended(self, held: Held) -> bool:
        return await self._in_thread(f"look at {held.job.id}", self._records.ended, *held.id)

    async def refuse(self, record: Record, error: ErrorInfo, receipt: Receipt) -> None:
        """Set aside a record that cannot be read, and end the run it names with the same error: left pending, it would be
        published again by every sweep.
        """
        letter = await self._dead_letter(record, error, attempt=1)
        id = run_named_by(record)
        what = f"end what {record.position} names"
        unmark = None
        if id is not None and await self._in_thread(what, self._pending, *id):
            job = await self._in_thread(what, _readable, self._records, id[0])
            operation = self._operations.get(job.operation) if job is not None else None
            if job is not None and operation is not None:
                held = Held(job, operation, id[1], new_traceparent(), record, [receipt])
                await self.end(held, error, letter)
                return
            # As new as its event: on which topic its end belongs is not known here, so it is in the store alone.
            unmark = await self._in_thread(what, self._failed, id, error)
        if await self._told(letter, receipt):
            if id is not None and unmark is not None:
                await self._in_thread(what, self._records.remove_mark, *id)
            receipt()

    async def leave(self, receipt: Receipt) -> None:
        """A record of which nothing is to be told."""
        if await self._outbox.send((), (receipt,)) or await self._outbox.settled(receipt.position):
            receipt()

    async def retry(self, held: Held, error: ErrorInfo, tier: int, attempt: int, not_before: float) -> bool:
        """Have the run tried again from `gpu-jobs.retry`, for the `attempt`th time, not before then (seconds since 1970). Its
        mark moves there before its records are acknowledged. False where they are not ours any more, or were settled before.
        """
        extra = {"attempt": str(attempt), "not_before": f"{not_before:.3f}", "error": error.code}
        message = again(held.record, Topic.JOBS_RETRY, tier, extra)
        placed = await self._moving_mark(held.id, message, attempt)
        while not await self._outbox.send((message,), receipts := tuple(held.receipts), placed):
            if not await self._anew(held, receipts):
                return False
        held.acknowledge(receipts)
        await self._settle_copies(held)
        return True

    async def forward(self, record: Record, receipt: Receipt, partition: int) -> bool:
        """Bring a record of `gpu-jobs.retry` back to its partition of `gpu-jobs`, and its run's mark with it. False where it is
        not ours any more.
        """
        message = again(record, Topic.JOBS, partition, {})
        id = run_named_by(record)
        placed = None if id is None else await self._moving_mark(id, message, retries_of(record))
        if not await self._told(message, receipt, placed):
            return False
        points.passing("retry.forwarded")
        receipt()
        return True

    async def _told(self, message: Message, receipt: Receipt, placed: Placed | None = None) -> bool:
        """Whether the record is settled: by this message, or before. The broker's answer to that may have been lost."""
        return await self._outbox.send((message,), (receipt,), placed) or await self._outbox.settled(receipt.position)

    async def _messages(self, held: Held, ending: Ending | None, letter: Message | None) -> list[Message]:
        """What an end has to say."""
        failed = ending.error if ending is not None and letter is None and self.sets_aside else None
        if failed is not None and failures.of(failed).operators:
            letter = await self._dead_letter(held.record, failed, held.retries + held.attempts)
        messages = [] if letter is None else [letter]
        if ending is not None:
            event, partition = self._event(held, ending), self._layout.result_partition(held.job.id)
            messages.append(Message(held.operation.topic, partition, event.key, event.data, event.headers))
        return messages

    async def _dead_letter(self, record: Record, error: ErrorInfo, attempt: int) -> Message:
        """A record as it came, with the reason in its headers."""
        what = f"set {record.position} aside"
        value, headers = await self._in_thread(what, set_aside, self._records, record, error, attempt)
        logger.warning("%s goes to %s: %s: %s", record.position, Topic.JOBS_DLQ, error.code, error.detail)
        self.metrics.set_aside(error.code)
        return Message(Topic.JOBS_DLQ, 0, key_of(record), value, headers)

    async def _settle(self, held: Held, outcome: Outcome | None) -> Ending | None:
        """The end of the run, stored if it had none. None where nothing is left to tell: told before, or erased."""
        what, witnesses = f"store the end of {held.job.id}", await self._testimony.at_once(held)
        ending, before = await self._in_thread(what, self._stored, held, outcome, witnesses)
        return None if before and not await self._untold(held) else ending

    def _stored(self, held: Held, outcome: Outcome | None, witnesses: Witnesses) -> tuple[Ending | None, bool]:
        """How the run ended, None where its job is gone; and whether it had ended before. Blocks."""
        try:
            found = self._ending(*held.id)
            stored = found or self._store(held, outcome, witnesses) or self._records.ending(*held.id)
        except Damaged as error:
            found = stored = _unreadable(held.id, error)
        if not self._records.has_job(held.job.id):
            # Erased, maybe while something of it was being stored, now or by a worker that died of it: nothing may stay.
            self._records.erase(held.job.id)
            return None, False
        return stored, found is not None

    def _ending(self, job_id: str, run: str) -> Ending | None:
        """How the run ended, if it did. What of its end is missing because somebody died is stored."""
        ending = self._records.ending(job_id, run)
        if ending is not None and ending.error is not None:
            self._records.complete_ending(job_id, run)
        return ending

    async def _untold(self, held: Held) -> bool:
        """Whether the end of a run is still to be told. It was where the mark is gone, and where a witness of it is settled: then
        somebody died before the mark was removed, which is done here.
        """
        what = f"look whether the end of {held.job.id} was told"
        if not await self._in_thread(what, self._records.is_pending, *held.id):
            return False
        if await self._testimony.told(held):
            await self._clear(held)
            return False
        return True

    async def _clear(self, held: Held) -> None:
        """The end of a run is told: what only a pending run needs is removed."""
        if held.operation.stages:  # also where the API stored the end, which is a cancel
            await self._in_thread(f"forget the stages of {held.job.id}", self._records.forget_stages, *held.id)
        await self._in_thread(f"remove the mark of {held.job.id}", self._records.remove_mark, *held.id)

    async def _anew(self, held: Held, tried: Sequence[Receipt]) -> bool:
        """After the outbox did not take it: whether there is something else to be tried with."""
        settled = await self._settled(held)
        if settled:
            await self._untold(held)
            held.acknowledge(settled)
        return bool(held.receipts) and tuple(held.receipts) != tuple(tried)

    async def _settled(self, held: Held) -> list[Receipt]:
        """Those of its records that were settled before."""
        return [each for each in tuple(held.receipts) if await self._outbox.settled(each.position)]

    async def _settle_copies(self, held: Held) -> None:
        """Those that came while the run was being told."""
        while receipts := tuple(held.receipts):
            if await self._outbox.send((), receipts):
                held.acknowledge(receipts)
            elif not await self._anew(held, receipts):
                return

    async def _moving_mark(self, id: JobKey, message: Message, attempt: int) -> Placed:
        topic_id = await self._topic_ids(message.topic)

        async def placed(positions: Sequence[Position]) -> None:
            points.passing("retry.sent")
            (at,) = positions
            mark = Mark.queued(at.topic, topic_id, at.partition, at.offset, attempt)
            await self._in_thread(f"move the mark of {id[0]}", _move_mark, self._records, *id, mark)
            points.passing("retry.marked")

        return placed

    def _pending(self, job_id: str, run: str) -> bool:
        return self._records.is_pending(job_id, run) and self._records.has_job(job_id)

    def _store(self, held: Held, outcome: Outcome | None, witnesses: Witnesses) -> Ending | None:
        """None where it has to be looked up how the run ended, if it did."""
        if outcome is not None and not isinstance(outcome, ErrorInfo):
            return self._records.put_result(*held.id, outcome, witnesses)
        # A result that somebody stored and did not live to claim the end with counts more than an error.
        if self._records.adopt_result(*held.id, witnesses) or outcome is None:
            return None
        if ending_state(outcome) is JobState.CANCELLED:
            return self._records.put_cancelled(*held.id, witnesses)
        return self._records.put_error(*held.id, outcome, witnesses)

    def _failed(self, id: JobKey, error: ErrorInfo) -> Ending | None:
        """Blocks."""
        try:
            return self._records.put_error(*id, error)
        except Damaged as damage:
            return _unreadable(id, damage)

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


def _unreadable(id: JobKey, error: Damaged) -> Ending:
    """In place of an end that is there and that nobody can read: told as a failure, it holds up no other run."""
    logger.error("run %s of job %s has ended, and nobody can read how: %s", id[1], id[0], error.detail)
    why = InternalError(f"The run has ended, but {error.detail}").info
    return Ending(JobState.FAILED, key="", body=b"", error=why)


def _move_mark(records: Records, job_id: str, run: str, mark: Mark) -> None:
    """Blocks. A run that has no mark has ended, and its job may be gone: no mark may come of this."""
    if not records.is_pending(job_id, run):
        return
    records.put_mark(job_id, run, mark)
    if not records.has_job(job_id):
        records.remove_mark(job_id, run)


def again(record: Record, topic: Topic, partition: int, extra: dict[str, str]) -> Message:
    """A record as it came, for another topic."""
    theirs = ((name, value) for name, value in record.headers if name not in extra and name != "not_before")
    headers = (*theirs, *((name, value.encode()) for name, value in extra.items()))
    return Message(str(topic), partition, record.key, record.value, headers)


def _readable(records: Records, job_id: str) -> Job | None:
    """Blocks."""
    try:
        return records.job(job_id)
    except (JobNotFound, Damaged):
        return None

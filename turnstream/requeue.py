"""What a dead letter asked for is asked for again."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from schemas.errors import BrokerUnavailable, JobNotFound, TurnstreamError
from schemas.jobs import Job, JobState
from schemas.topics import Topic
from turnstream.bus.base import Bus
from turnstream.dead_letters import DeadLetter, original
from turnstream.further_runs import FurtherRuns
from turnstream.records import MarkState, Records, RunRequest

SOURCE = "/turnstream/dlq"
CAME_FROM = (str(Topic.JOBS), str(Topic.JOBS_RETRY))
"""Where workers read from: what came from elsewhere is none of theirs."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a dead letter, in words. `done`: nothing is left to do about it."""

    said: str
    done: bool = True


class Requeue:
    """Of one broker and one store. What failed is asked for again once, however often its letter is given.

    A run is told once and for ever, so a job whose run failed gets a further run, `dlq-<offset>` with what the failed one was
    asked for; the order of the steps is that of any other further run, and so the sweep mends what is interrupted. Where a run
    has several letters, because a worker died after it had sent one, the first that is given names the further run for all.
    """

    def __init__(self, bus: Bus, records: Records, further: FurtherRuns, letters_id: str) -> None:
        self._bus = bus
        self._records = records
        self._further = further
        self._letters_id = letters_id

    @classmethod
    async def on(cls, bus: Bus, records: Records) -> "Requeue":
        """Raises LayoutMismatch, BrokerUnavailable, StoreUnavailable."""
        further = await FurtherRuns.on(bus, records, SOURCE)
        letters_id = await bus.topic_id(Topic.JOBS_DLQ)
        if letters_id is None:
            raise BrokerUnavailable("the broker has no topics yet: the service makes them when it starts")
        return cls(bus, records, further, letters_id)

    async def again(self, letter: DeadLetter) -> Answer:
        try:
            return await (self._as_it_came(letter) if letter.id is None else self._as_a_run(letter, *letter.id))
        except TurnstreamError as error:
            return Answer(error.detail, done=False)

    # A record that names no run

    async def _as_it_came(self, letter: DeadLetter) -> Answer:
        if letter.src is None or letter.src.topic not in CAME_FROM:
            return Answer("names neither a run nor a topic of jobs that it came from", done=False)
        if before := await asyncio.to_thread(self._records.requeued, self._letters_id, letter.offset):
            return Answer(f"already published again as it came: {before}")
        value = await asyncio.to_thread(original, self._records, letter)
        position = await self._bus.publish(
            letter.src.topic,
            key=letter.record.key,
            value=value,
            headers=letter.original_headers,
            partition=letter.src.partition,
        )
        await asyncio.to_thread(self._records.note_requeued, self._letters_id, letter.offset, str(position))
        return Answer(f"published again as it came: {position}")

    # A run that failed

    async def _as_a_run(self, letter: DeadLetter, job_id: str, failed: str) -> Answer:
        try:
            job = await asyncio.to_thread(self._records.job_of_run, job_id, failed)
            outcome = await asyncio.to_thread(self._records.outcome, job_id, failed)
            if outcome is None:
                return Answer(f"run {failed} has no end yet: nothing done", done=False)
            if outcome[0] is not JobState.FAILED:
                return Answer(f"run {failed} {_ended(outcome[0])}: nothing to do")
            run, request = await asyncio.to_thread(self._named, job, failed, letter)
            if await self._further.ask(request.applied_to(job), run) is None:
                state = await asyncio.to_thread(self._state, job_id, run)
                return Answer(f"already asked for again as run {run}: {state}")
        except JobNotFound:
            return Answer("its job was erased: nothing to do")
        return Answer(f"asked for again as run {run}")

    def _named(self, job: Job, failed: str, letter: DeadLetter) -> tuple[str, RunRequest]:
        """The run that takes the place of the failed one, and what it stands for. Blocks."""
        run = self._records.successor(job.id, failed)
        if run is None:
            # A name may be taken: an embedded broker that was restarted counts offsets from 0 again.
            free = (name for name in _names(letter.offset) if self._records.run_request(job.id, name) is None)
            run = self._records.name_successor(job.id, failed, next(free))
        request = RunRequest(params=job.params, created_at=datetime.now(UTC))
        return run, self._records.request_run(job.id, run, request)

    def _state(self, job_id: str, run: str) -> str:
        """How far a run is that was asked for. Blocks."""
        outcome = self._records.outcome(job_id, run)
        return outcome[0].value if outcome else MarkState.QUEUED.value


def _names(offset: int) -> Iterator[str]:
    yield f"dlq-{offset}"
    number = 2
    while True:
        yield f"dlq-{offset}-{number}"
        number += 1


def _ended(state: JobState) -> str:
    return "was cancelled" if state is JobState.CANCELLED else state.value

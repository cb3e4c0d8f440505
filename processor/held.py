"""A (job, run) in the worker's hands, and how it is read from a record."""

import json
from dataclasses import dataclass, field
from enum import Enum, auto

from pydantic import ValidationError

from processor.receipts import Receipt
from processor.scheduler import JobKey, Ticket
from schemas.base import Value
from schemas.errors import EventInvalid, UnknownOperation
from schemas.events import JOB_REQUESTED, Event
from schemas.jobs import Job, JobId, JobRequested, Operation, RunName
from schemas.topics import JOB_EVENT_LIMIT
from turnstream.bus.base import Record


class Stage(Enum):
    WAITING = auto()
    """In the scheduler."""
    OPENING = auto()
    """Has a place in the engine; the record is asked whether it may start."""
    OPEN = auto()
    """In the engine, or on its way there."""
    DELIVERING = auto()
    """Its outcome is known."""


@dataclass(slots=True, eq=False)
class Held:
    job: Job
    run: str
    traceparent: str
    record: Record
    """As it came, for the dead letter topic."""
    receipts: list[Receipt] = field(default_factory=list)
    """Of every copy of the job event that is here: all are acknowledged when the run has its end."""
    stage: Stage = Stage.WAITING
    alone: bool = False
    cancelled: bool = False
    attempts: int = 0
    opened_at: float = 0.0
    """Seconds since 1970."""
    progressed_at: float = float("-inf")
    """Monotonic: when progress was last published."""

    @property
    def id(self) -> JobKey:
        return self.job.id, self.run

    @property
    def ticket(self) -> Ticket:
        return Ticket(self.id, self.job.operation, self.job.lane, self.job.created_at.timestamp(), self.alone)

    def acknowledge(self) -> None:
        for receipt in self.receipts:
            receipt()
        self.receipts.clear()


def read(record: Record) -> Held:
    """Raises EventInvalid, EventVersionUnknown, UnknownOperation."""
    if record.value is not None and len(record.value) > JOB_EVENT_LIMIT:
        raise EventInvalid(f"the record has {len(record.value)} bytes; a job event has at most {JOB_EVENT_LIMIT}")
    event = Event.parse(record.headers, record.value)
    try:
        request = event.read(JOB_REQUESTED, JobRequested)
    except EventInvalid as error:
        _check_operation(event, error)
        raise
    # The event's own parameters count, not those of job.json: a replay may bring others.
    fields = {name: getattr(request, name) for name in Job.model_fields if name != "id"}
    return Held(Job(id=request.job_id, **fields), request.run, event.traceparent, record)


class _Run(Value):
    job_id: JobId
    run: RunName


def run_named_by(record: Record) -> JobKey | None:
    """The run that a record is about although `read` refuses it; None where it names none."""
    try:
        job_id, _, run = Event.parse(record.headers, record.value).id.partition("/")
        named = _Run(job_id=job_id, run=run)
    except (EventInvalid, ValidationError):
        return None
    return named.job_id, named.run


def _check_operation(event: Event, cause: EventInvalid) -> None:
    """An operation that is not known here has a code of its own: a newer producer sends what this worker cannot do."""
    if event.type != JOB_REQUESTED:
        return
    try:
        operation = json.loads(event.data)["operation"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return
    if operation not in set(Operation):
        raise UnknownOperation(f"this worker has no operation {str(operation)[:64]!r}") from cause

"""A (job, run) in the worker's hands, and how it is read from a record."""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from pydantic import ValidationError

from processor.engines.base import JobTask
from processor.moments import Queues
from processor.receipts import Receipt
from processor.scheduler import Ticket
from schemas.errors import EventInvalid, UnknownOperation
from schemas.events import JOB_REQUESTED, Event, size_of
from schemas.jobs import Job, JobKey, JobRequested, Lane
from schemas.operation import Operation
from schemas.topics import HEADERS_LIMIT, JOB_EVENT_LIMIT
from turnstream.bus.base import Record
from turnstream.operations import Operations

MOST_RETRIES = 1000


class Stage(Enum):
    WAITING = auto()
    """In the scheduler."""
    ELSEWHERE = auto()
    """Another worker has it open, or has just died with it: looked at again now and then."""
    OPENING = auto()
    """Has a place in the engine; the record is asked whether it may start."""
    OPEN = auto()
    """In the engine, or on its way there."""
    DELIVERING = auto()
    """Its outcome is known."""


@dataclass(slots=True, eq=False)
class Held:
    job: Job
    operation: Operation
    run: str
    traceparent: str
    record: Record
    """As it came, for the retry and the dead letter topic."""
    receipts: list[Receipt] = field(default_factory=list)
    """Of every copy of the job event that is here: all are acknowledged when the run has its end, or waits for its next try."""
    stage: Stage = Stage.WAITING
    alone: bool = False
    cancelled: bool = False
    found: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the stages that are done found, by model."""
    ready_at: float = 0.0
    """Seconds since 1970: when the present stage could have begun."""
    attempts: int = 0
    """Of the present stage, this try included."""
    retries: int = 0
    """How often the run came back from `gpu-jobs.retry`."""
    opened_at: float = 0.0
    """Seconds since 1970."""
    progressed_at: float = float("-inf")
    """Monotonic: when progress was last published."""

    @property
    def id(self) -> JobKey:
        return self.job.id, self.run

    @property
    def model(self) -> str:
        """Whose engine does the present stage; the last one where all are done."""
        return next((model for model in self.operation.models if model not in self.found), self.operation.models[-1])

    @property
    def complete(self) -> bool:
        return all(model in self.found for model in self.operation.models)

    @property
    def ticket(self) -> Ticket:
        seconds = (self.job.audio.duration if self.job.audio else None) or 0.0
        return Ticket(
            id=self.id,
            model=self.model,
            lane=self.job.lane,
            owner=self.job.owner,
            since=self.ready_at,
            seconds=seconds,
            alone=self.alone,
        )

    def task(self, operations: Operations) -> JobTask:
        """The present stage. Its engine gets those of the job's parameters that its own operation has."""
        own = operations[self.model].params.model_fields
        params = {name: value for name, value in self.job.params.items() if name in own}
        return JobTask(self.job, self.run, self.model, params)

    def acknowledge(self, receipts: Collection[Receipt]) -> None:
        """Be done with these records; others of the run may have come meanwhile."""
        for receipt in receipts:
            receipt()
        self.receipts = [receipt for receipt in self.receipts if receipt not in receipts]


def queues(helds: Iterable[Held], parked: int, retries: int) -> Queues:
    """What is here at this moment, for the metrics."""
    now = time.time()
    waiting, opened = Counter[tuple[str, Lane]](), Counter[str]()
    oldest: dict[tuple[str, Lane], float] = {}
    for held in helds:
        name = held.operation.name
        if held.stage is Stage.WAITING:
            place = name, held.job.lane
            waiting[place] += 1
            oldest[place] = max(oldest.get(place, 0.0), now - held.ready_at)
        elif held.stage is Stage.OPEN:
            opened[name] += 1
    return Queues(waiting=waiting, open=opened, parked=parked, oldest=oldest, retries=retries)


def read(record: Record, operations: Operations) -> Held:
    """Raises EventInvalid, EventVersionUnknown, UnknownOperation."""
    if record.value is not None and len(record.value) > JOB_EVENT_LIMIT:
        raise EventInvalid(f"the record has {len(record.value)} bytes; a job event has at most {JOB_EVENT_LIMIT}")
    around = len(record.key or b"") + size_of(record.headers)
    if around > HEADERS_LIMIT:
        raise EventInvalid(
            f"the record's key and headers have {around} bytes; a job event's have at most {HEADERS_LIMIT}"
        )
    event = Event.parse(record.headers, record.value)
    request = event.read(JOB_REQUESTED, JobRequested)
    operation = operations.get(request.operation)
    if operation is None:
        raise UnknownOperation(f"this worker has no operation {request.operation!r}; it has {', '.join(operations)}")
    # The event's own parameters count, not those of job.json: a replay may bring others.
    told = Job.model_fields.keys() & JobRequested.model_fields.keys()
    fields: dict[str, Any] = {name: getattr(request, name) for name in told}
    fields["params"] = _checked(request.params, operation)
    job = Job(id=request.job_id, **fields)
    held = Held(job, operation, request.run, event.traceparent, record, ready_at=job.created_at.timestamp())
    held.retries = retries_of(record)
    if held.retries:
        held.ready_at = record.timestamp or time.time()
    return held


def header(record: Record, name: str) -> str:
    """Empty where the record has none. Anybody may write one: it need not be what it should."""
    value = dict(record.headers).get(name)
    return value.decode("ascii", "replace") if value else ""


def retries_of(record: Record) -> int:
    """How often its run was tried again before; MOST_RETRIES stands for more, which nothing of ours says."""
    try:
        return min(max(0, int(header(record, "attempt"))), MOST_RETRIES)
    except ValueError:
        return 0


def _checked(params: Mapping[str, Any], operation: Operation) -> dict[str, Any]:
    try:
        return operation.params.model_validate(params).model_dump(mode="json", exclude_none=True)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False)[:3]
        )
        raise EventInvalid(f"the parameters do not fit {operation.name}: {problems}") from error

"""How many runs of a replay stand how, from the names of objects: one listing, and a look at what is missing."""

import asyncio
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from schemas.errors import JobNotFound, StoreUnavailable
from schemas.jobs import JobState
from turnstream.operations import Operations
from turnstream.records import Glimpse, Records, ReplayRequest
from turnstream.replay import candidates
from turnstream.resumable import Outcome, publish
from turnstream.settings import Settings

AT_ONCE = 16
MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Standing:
    """Jobs that are meant, by how their run of this replay stands."""

    queued: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    missing: int = 0
    """Not asked for yet, or not any more: the replay is to be started again."""

    @property
    def published(self) -> int:
        return self.total - self.missing

    @property
    def ended(self) -> int:
        return self.succeeded + self.failed + self.cancelled

    @property
    def total(self) -> int:
        return sum(asdict(self).values())


async def standing(
    settings: Settings, records: Records, operations: Operations, name: str, request: ReplayRequest
) -> Standing:
    """Raises StoreUnavailable."""
    counted = Counter[str]()
    # Before the runs: one that has ended meanwhile counts as ended.
    marked = await asyncio.to_thread(_marked, settings, records, name, request)

    def state(glimpse: Glimpse) -> str | None:
        if (ended := records.state_of(glimpse.job_id, name, glimpse.run)) is not None:
            return ended
        if glimpse.job_id in marked:
            return JobState.RUNNING if _is_open(records, glimpse, name) else JobState.QUEUED
        return MISSING if _is_wanted(records, operations, request, glimpse) else None

    async def act(glimpse: Glimpse) -> Outcome:
        found = await asyncio.to_thread(state, glimpse)
        if found is not None:
            counted[found] += 1
        return Outcome.DONE

    found = candidates.stepwise(candidates.glimpses(settings, records, request, name))
    if (await publish(found, act, at_once=AT_ONCE, tell=lambda _: None)).failed:
        raise StoreUnavailable("the object store did not answer for all jobs: try again")
    return Standing(**counted)


def _marked(settings: Settings, records: Records, name: str, request: ReplayRequest) -> frozenset[str]:
    return frozenset(records.marked_between(*candidates.stretch(settings, request), name))


def _is_open(records: Records, glimpse: Glimpse, name: str) -> bool:
    if "attempts" not in glimpse.run:
        return False
    until = records.attempts(glimpse.job_id, name).until
    return until is not None and until > datetime.now(UTC)


def _is_wanted(records: Records, operations: Operations, request: ReplayRequest, glimpse: Glimpse) -> bool:
    """Whether a job that has no such run is to have one."""
    if not candidates.is_meant(records, request, glimpse):
        return False
    try:
        job = records.job(glimpse.job_id)
    except JobNotFound:
        return False
    operation = operations.get(job.operation)
    if operation is None or request.operation not in {None, job.operation}:
        return False
    return candidates.accepted_between(request, job) and request.params.keys() <= operation.params.model_fields.keys()

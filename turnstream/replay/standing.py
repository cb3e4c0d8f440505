"""How many runs of a replay stand how, from the names of objects: one listing, and a look at what is missing."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

from schemas.errors import JobNotFound, StoreUnavailable
from schemas.jobs import JobState
from turnstream.operations import Operations
from turnstream.records import Glimpse, Records, ReplayRequest, Source
from turnstream.replay import candidates
from turnstream.replay.wanted import NEVER, wanted
from turnstream.resumable import Outcome, publish
from turnstream.settings import Settings

AT_ONCE = 16
MISSING, REFUSED = "missing", "refused"


@dataclass(frozen=True, slots=True)
class Standing:
    """Jobs that are meant, by how their run of this replay stands."""

    queued: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    missing: int | None = 0
    """Not asked for yet, or not any more: the replay is to be started again. None of a replay from the topic, as nobody knows
    what that held."""
    refused: int | None = 0
    """Such a run cannot be asked for, however often the replay is started. None as above."""

    @property
    def published(self) -> int:
        return self.queued + self.running + self.ended

    @property
    def ended(self) -> int:
        return self.succeeded + self.failed + self.cancelled

    @property
    def possible(self) -> int:
        return self.published + (self.missing or 0)

    @property
    def total(self) -> int:
        return self.possible + (self.refused or 0)


async def standing(
    settings: Settings, records: Records, operations: Operations, name: str, request: ReplayRequest
) -> Standing:
    """Raises StoreUnavailable."""
    counted = Counter[str]()
    unknown = dict.fromkeys((MISSING, REFUSED)) if request.source is Source.TOPIC else {}
    # Before the runs: one that has ended meanwhile counts as ended.
    marked = await asyncio.to_thread(_marked, settings, records, name, request)

    def state(glimpse: Glimpse) -> str | None:
        if (ended := records.state_of(glimpse.job_id, name, glimpse.run)) is not None:
            return ended
        if glimpse.job_id in marked:
            return JobState.RUNNING if _is_open(records, glimpse, name) else JobState.QUEUED
        return None if unknown else _unasked(records, operations, name, request, glimpse)

    async def act(glimpse: Glimpse) -> Outcome:
        found = await asyncio.to_thread(state, glimpse)
        if found is not None:
            counted[found] += 1
        return Outcome.DONE

    found = candidates.stepwise(candidates.glimpses(settings, records, request, name))
    if (await publish(found, act, at_once=AT_ONCE, tell=lambda _: None)).failed:
        raise StoreUnavailable("the object store did not answer for all jobs: try again")
    return Standing(**counted, **unknown)


def _marked(settings: Settings, records: Records, name: str, request: ReplayRequest) -> frozenset[str]:
    return frozenset(records.marked_between(*candidates.stretch(settings, request), name))


def _is_open(records: Records, glimpse: Glimpse, name: str) -> bool:
    if "attempts" not in glimpse.run:
        return False
    until = records.attempts(glimpse.job_id, name).until
    return until is not None and until > datetime.now(UTC)


def _unasked(
    records: Records, operations: Operations, name: str, request: ReplayRequest, glimpse: Glimpse
) -> str | None:
    """How a job stands that has no such run; None where it is to have none."""
    if not candidates.is_meant(records, request, glimpse):
        return None
    try:
        return MISSING if wanted(records, operations, name, request, glimpse) else None
    except JobNotFound:
        return None
    except NEVER:
        return REFUSED

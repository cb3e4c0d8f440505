"""How a run stands in the record when it is about to be opened."""

import asyncio
from dataclasses import dataclass
from enum import Enum, auto

from processor import leases
from processor.held import Held
from processor.persistence import persistently
from turnstream.records import Records


class Over(Enum):
    """Why there is nothing left to compute."""

    ERASED = auto()
    """There is no such job any more."""
    ENDED = auto()


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Another worker has it open, or died with it a moment ago."""

    seconds: float
    """Until its lease ends, unless it is renewed."""


@dataclass(frozen=True, slots=True)
class Tried:
    """It may be opened."""

    times: int
    """So often the present stage was opened and not handed back in order: its workers died with it, or their engines."""


Standing = Over | Elsewhere | Tried


async def look(records: Records, held: Held, instance: str) -> Standing:
    """How a run stands; the stages that are done are taken up. `instance`: the worker that asks."""
    return await persistently(f"look at {held.job.id}", lambda: asyncio.to_thread(_look, records, held, instance))


async def keep_stage(records: Records, held: Held, stage: str) -> None:
    """Keep what a stage found, so that whoever goes on with the run does not compute it again."""
    put, found = records.put_stage, held.found[stage]
    what = f"store what {stage} found in {held.job.id}"
    await persistently(what, lambda: asyncio.to_thread(put, *held.id, stage, found))


def _look(records: Records, held: Held, instance: str) -> Standing:
    if not records.has_job(held.job.id):
        return Over.ERASED
    there = records.names(*held.id)
    if "ended" in there:
        return Over.ENDED
    if "result" in there:  # whoever stored it did not live to claim the end
        records.adopt_result(*held.id)
        return Over.ENDED
    for stage in held.operation.stages:
        if stage not in held.found and f"stages/{stage}" in there:
            found = records.stage(*held.id, stage)
            if found is not None:
                held.found[stage] = found
    if "attempts" not in there:
        return Tried(0)
    attempts, now = records.attempts(*held.id), leases.now()
    if attempts.until is not None and attempts.leased(instance, now):
        return Elsewhere((attempts.until - now).total_seconds())
    return Tried(attempts.of(held.model, held.retries))

"""How a run stands in the record when it is about to be opened."""

import asyncio
from enum import Enum, auto

from processor.delivery import accepted, persistently
from processor.held import Held
from turnstream.records import Attempts, Records


class Standing(Enum):
    """Why a run is not opened."""

    ERASED = auto()
    """There is no such job any more."""
    ENDED = auto()


async def look(records: Records, held: Held) -> Standing | int:
    """How often the present stage was opened, or why it is not to be; the stages that are done are taken up."""
    return await persistently(f"look at {held.job.id}", lambda: asyncio.to_thread(_look, records, held))


async def count(records: Records, held: Held, attempts: int) -> None:
    """Keep how often the present stage was opened."""
    held.attempts, held.lent = attempts, False
    await _put_attempts(records, held, attempts)


async def lend(records: Records, held: Held) -> None:
    """Have the present try not count until `count` is called again; whoever else opens the run may count meanwhile."""
    held.lent = True
    await _put_attempts(records, held, held.attempts - 1)


async def keep_stage(records: Records, held: Held, stage: str) -> None:
    """Keep what a stage found, so that whoever goes on with the run does not compute it again. The next one is counted anew."""
    put, found = records.put_stage, held.found[stage]
    what = f"store what {stage} found in {held.job.id}"
    await persistently(what, lambda: asyncio.to_thread(put, *held.id, stage, found))
    await count(records, held, 0)


async def _put_attempts(records: Records, held: Held, attempts: int) -> None:
    put = records.put_attempts
    await persistently(
        f"count a try of {held.job.id}", lambda: asyncio.to_thread(put, *held.id, Attempts(count=attempts))
    )


def _look(records: Records, held: Held) -> Standing | int:
    if not accepted(records, held.job.id):
        return Standing.ERASED
    if records.ended(*held.id):
        return Standing.ENDED
    for stage in held.operation.stages:
        if stage not in held.found and (found := records.stage(*held.id, stage)) is not None:
            held.found[stage] = found
    return records.attempts(*held.id).count

"""The end of a replay: whoever publishes it stops, and what it asked for and has not ended is cancelled."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from turnstream.bus.base import Bus
from turnstream.cancelling import store_cancel, tell_cancel
from turnstream.records import Glimpse, Records, ReplayRequest
from turnstream.replay.candidates import glimpses, stepwise
from turnstream.resumable import Outcome, Tally, publish
from turnstream.settings import Settings

SOURCE = "/turnstream/replay"
AT_ONCE = 16


async def cancel_replay(
    settings: Settings, bus: Bus, records: Records, name: str, request: ReplayRequest, tell: Callable[[Tally], None]
) -> Tally:
    """Done are the runs that were cancelled, there those that had ended, left the jobs that were never asked for one."""
    await asyncio.to_thread(records.cancel_replay, name, datetime.now(UTC))
    return await cancel_runs(settings, bus, records, name, request, tell)


async def cancel_runs(
    settings: Settings, bus: Bus, records: Records, name: str, request: ReplayRequest, tell: Callable[[Tally], None]
) -> Tally:
    async def act(glimpse: Glimpse) -> Outcome:
        if "request" not in glimpse.run:
            return Outcome.LEFT
        if not await asyncio.to_thread(store_cancel, records, glimpse.job_id, name):
            return Outcome.THERE
        await tell_cancel(bus, glimpse.job_id, name, SOURCE)
        return Outcome.DONE

    found = stepwise(glimpses(settings, records, request, name))
    return await publish(found, act, at_once=AT_ONCE, tell=tell)

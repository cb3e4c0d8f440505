"""Workers that come and go while jobs keep coming: what tests ask about, and how many seconds it took (`tests.bench.group`)."""

import asyncio
import itertools
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from schemas.jobs import Lane
from tests.support.fleet import OPERATIONS, START_LIMIT, STOP_LIMIT, Fleet

AT_ONCE = 16
"""Jobs that are pending at the same time in a trickle."""


@dataclass(frozen=True, slots=True)
class Passage:
    """Seconds."""

    took: float
    """Until it was over: the worker works, or others do all of its work."""
    silence: float = 0.0
    """The longest in which the worker that had nothing to do with it ended no job."""
    rebalanced: bool = False
    """Whether that one lost its partitions, if only to get them back."""


@asynccontextmanager
async def trickle(fleet: Fleet) -> AsyncIterator[None]:
    """Short jobs to all partitions in turn, a few at a time, for as long as this is open; all have ended when it is left."""
    places = itertools.cycle(itertools.product(OPERATIONS, Lane, range(fleet.layout.groups)))

    stopping = asyncio.Event()

    async def send() -> None:
        while not stopping.is_set():  # not cancelled: a job that was accepted is to be published
            if await asyncio.to_thread(fleet.pending) < AT_ONCE:
                operation, lane, group = next(places)
                await fleet.submit(operation, "sleep-0.05.wav", lane, group)
            else:
                await asyncio.sleep(0.02)

    sending = asyncio.create_task(send())
    try:
        yield
    finally:
        stopping.set()
        await sending
    await fleet.settled()


async def joins(fleet: Fleet) -> Passage:
    """One more worker, from its start until it has computed something."""
    began = time.time()
    index = fleet.launch()
    await works(fleet, index)
    return Passage(time.time() - began)


async def leaves(fleet: Fleet, index: int) -> Passage:
    """SIGTERM, until the others have ended a job of each partition that was sent after it."""
    began = time.time()
    fleet.workers[index].send_signal(signal.SIGTERM)
    jobs = await fleet.submit_everywhere("a.wav")
    await fleet.until(lambda: fleet.ended(jobs), STOP_LIMIT)
    took = time.time() - began
    assert await asyncio.to_thread(fleet.workers[index].wait, STOP_LIMIT) == 0
    return Passage(took)


async def dies(fleet: Fleet, index: int) -> Passage:
    """kill -9 for good, until the others have ended a job of each partition that was sent after it."""
    began = time.time()
    fleet.crash(index)
    jobs = await fleet.submit_everywhere("a.wav")
    await fleet.until(lambda: fleet.ended(jobs), START_LIMIT)
    return Passage(time.time() - began)


async def restarts(fleet: Fleet, index: int, peer: int, *, clean: bool) -> Passage:
    """SIGTERM or kill -9, and a start under the same name as soon as it is gone; until it computes again."""
    before, began = fleet.state(peer)["at"], time.time()
    if clean:
        assert await fleet.stop(fleet.workers[index]) == 0
    else:
        fleet.crash(index)
    fleet.launch(index)
    await works(fleet, index)
    ended = time.time()
    return Passage(ended - began, silence(fleet, peer, began, ended), rebalanced=fleet.state(peer)["at"] != before)


async def works(fleet: Fleet, index: int) -> None:
    """A worker that was just started has partitions and has computed something."""
    await fleet.until(lambda: fleet.ready(index) and fleet.computed_by(index), START_LIMIT)


def silence(fleet: Fleet, index: int, since: float, until: float) -> float:
    ends = sorted(each.ended for each in fleet.computed_by(index) if since < each.ended < until)
    return max(after - before for before, after in itertools.pairwise([since, *ends, until]))

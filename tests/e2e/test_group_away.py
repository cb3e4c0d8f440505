"""Workers and brokers that are away for longer than a session, on both brokers: frozen, stopped, not there yet."""

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from schemas.jobs import Job
from tests.support.fleet import LAST_LIMIT, START_LIMIT, Fleet, running_fleet
from tests.support.passages import trickle
from tests.support.real import REAL_KAFKA, REASON

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

REAL = [pytest.mark.real, pytest.mark.skipif(REAL_KAFKA not in os.environ, reason=REASON)]
KAFKA = pytest.param("kafka", marks=REAL)
SESSION = 6.0


async def opened(fleet: Fleet, count: int) -> list[Job]:
    """So many jobs of four seconds, in different partitions; all are open."""
    jobs = [await fleet.submit("diarize", "sleep-4.wav", group=group) for group in range(count)]
    await fleet.until(lambda: all(fleet.attempts(job) for job in jobs), START_LIMIT)
    return jobs


async def ended_well(fleet: Fleet) -> None:
    await fleet.settled()
    assert fleet.outcomes() == {"succeeded": len(fleet.submitted)}
    events = Counter(await fleet.told())
    assert set(events) == {f"{job}/live" for job in fleet.submitted}
    if fleet.settings.transactional:
        assert set(events.values()) == {1}


@pytest.mark.parametrize("kind", ["embedded", KAFKA])
async def test_a_frozen_worker_comes_back_to_jobs_that_others_have_done(kind: str, tmp_path: Path):
    """SIGSTOP, longer than the session, and SIGCONT: what it then does with the jobs it had open leaves no second trace."""
    async with running_fleet(tmp_path, 2, 4, kind, SESSION_TIMEOUT=str(SESSION)) as fleet:
        jobs = await opened(fleet, 4)
        fleet.workers[1].send_signal(signal.SIGSTOP)
        try:
            await fleet.until(lambda: fleet.ended(jobs), LAST_LIMIT)
        finally:
            fleet.workers[1].send_signal(signal.SIGCONT)
        async with trickle(fleet):
            await works_again(fleet, 1)
        await ended_well(fleet)


async def works_again(fleet: Fleet, index: int) -> None:
    """By itself, or after its end, as a supervisor would see to it."""
    since = len(fleet.computed_by(index))

    def works() -> bool:
        if fleet.workers[index].poll() is not None:
            fleet.launch(index)
        return fleet.ready(index) and len(fleet.computed_by(index)) > since

    await fleet.until(works, START_LIMIT)


@pytest.mark.real
@pytest.mark.skipif(REAL_KAFKA not in os.environ, reason=REASON)
async def test_a_broker_that_is_not_there_yet_and_one_that_is_away_for_longer_than_the_session(tmp_path: Path):
    """On the embedded broker, which forgets: test_worker_faust.py and test_kills.py."""
    async with running_fleet(tmp_path, 0, 4, "kafka", SESSION_TIMEOUT=str(SESSION)) as fleet:
        fleet.ground.kill()
        index = fleet.launch()
        await fleet.until(lambda: "waiting: " in fleet.log.read_text(), START_LIMIT)
        await fleet.ground.start()
        await fleet.until(lambda: fleet.ready(index), START_LIMIT)

        jobs = await opened(fleet, 4)
        fleet.ground.kill()
        await asyncio.sleep(1.5 * SESSION)  # not for a condition: so long it is away
        await fleet.ground.start()
        await fleet.until(lambda: fleet.ended(jobs), LAST_LIMIT)
        async with trickle(fleet):
            await works_again(fleet, index)
        await ended_well(fleet)

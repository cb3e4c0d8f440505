"""Workers of one group come, go and die in the midst of jobs, on both brokers: nothing is lost, and what ends well ends once.

Seconds are told by `python -m tests.bench.group`; here they only have to be less than a standstill would take.
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from schemas.jobs import Job
from tests.support.fleet import LAST_LIMIT, START_LIMIT, Fleet, running_fleet
from tests.support.passages import joins, leaves, restarts, trickle, works
from tests.support.real import REAL_KAFKA, REASON

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

REAL = [pytest.mark.real, pytest.mark.skipif(REAL_KAFKA not in os.environ, reason=REASON)]
STANDSTILL = 80.0
"""Seconds of a session on Apache Kafka: so long a partition would wait that waits for its end, and no busy machine does."""
SETTINGS = {"embedded": {"DRAIN_LIMIT": "2"}, "kafka": {"DRAIN_LIMIT": "2", "SESSION_TIMEOUT": str(STANDSTILL)}}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["embedded", pytest.param("kafka", marks=REAL)])
async def standing_fleet(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Fleet]:
    """Two workers, with partitions for four."""
    folder = tmp_path_factory.mktemp(request.param)
    async with running_fleet(folder, 2, 4, request.param, **SETTINGS[request.param]) as fleet:
        yield fleet


@pytest_asyncio.fixture(loop_scope="module")
async def fleet(standing_fleet: Fleet) -> AsyncIterator[Fleet]:
    """The same two workers, at work and with nothing left of another test."""
    await asyncio.gather(
        *(standing_fleet.stop(worker) for worker in standing_fleet.workers[2:] if worker.poll() is None)
    )
    del standing_fleet.workers[2:]
    for index in {0, 1} - set(standing_fleet.running()):
        standing_fleet.launch(index)
    await standing_fleet.until(lambda: standing_fleet.ready(0) and standing_fleet.ready(1), START_LIMIT)
    yield standing_fleet
    await standing_fleet.settled()
    assert set(standing_fleet.outcomes()) == {"succeeded"}
    standing_fleet.submitted.clear()


def opened(fleet: Fleet, *jobs: Job) -> bool:
    return all(fleet.attempts(job) for job in jobs)


async def told_once(fleet: Fleet) -> None:
    """Each run of the fleet has its event, and on Apache Kafka exactly one."""
    await fleet.settled()
    events = Counter(await fleet.told())
    assert {f"{job}/live" for job in fleet.submitted} <= set(events)
    if fleet.settings.transactional:
        assert set(events.values()) == {1}


async def test_a_worker_that_goes_leaves_no_partition_idle(fleet: Fleet):
    async with trickle(fleet):
        passage = await leaves(fleet, 1)
    if fleet.ground.static:
        assert passage.took < STANDSTILL
    assert fleet.computed_twice() == {}


async def test_a_worker_that_was_killed_takes_its_place_again(fleet: Fleet):
    async with trickle(fleet):
        passage = await restarts(fleet, 1, 0, clean=False)
    if fleet.ground.static:
        assert not passage.rebalanced  # its peer was not stopped for a moment
        assert passage.took < STANDSTILL
    await told_once(fleet)


async def test_restarts_in_turn_and_at_once_compute_nothing_twice(fleet: Fleet):
    before = fleet.computed_twice()  # of other tests, that killed
    async with trickle(fleet):
        for index, peer in ((0, 1), (1, 0)):
            await restarts(fleet, index, peer, clean=True)
        assert await asyncio.gather(*(fleet.stop(worker) for worker in fleet.workers[:2])) == [0, 0]
        for index in (0, 1):
            fleet.launch(index)
        await asyncio.gather(works(fleet, 0), works(fleet, 1))
    assert fleet.computed_twice() == before
    await told_once(fleet)


async def test_sigterm_ends_what_fits_and_hands_back_the_rest_at_once(fleet: Fleet):
    """Both while nothing else happens and in the midst of a rebalance."""
    for moving in (False, True):
        jobs = [
            await fleet.submit("diarize", f"sleep-{seconds}.wav", group=group)
            for seconds in (1, 5)
            for group in range(4)
        ]
        await fleet.until(lambda jobs=jobs: opened(fleet, *jobs), START_LIMIT)
        if moving:  # the first one has just been told that partitions move
            before, third = fleet.state(0)["at"], fleet.launch()
            await fleet.until(lambda before=before: fleet.state(0)["at"] != before, START_LIMIT)
        assert await fleet.stop(fleet.workers[1]) == 0
        await fleet.until(lambda jobs=jobs: fleet.ended(jobs), LAST_LIMIT)
        assert [fleet.attempts(job) for job in jobs] == [1] * 8  # what was handed back was not counted
        fleet.launch(1)
        await fleet.until(lambda: fleet.ready(1), START_LIMIT)
    assert await fleet.stop(fleet.workers[third]) == 0


async def test_one_two_three_and_one_worker_compute_a_long_job_once(fleet: Fleet):
    """Each rebalance comes in the middle of jobs that are longer than a worker waits for them in one."""
    seconds = 5 + 4 * fleet.start_took  # so that they are open until both others are there
    assert await fleet.stop(fleet.workers[1]) == 0
    before = fleet.computed_twice()
    jobs = [await fleet.submit("diarize", f"sleep-{seconds:.0f}.wav", group=group) for group in range(4)]
    await fleet.until(lambda: opened(fleet, *jobs), START_LIMIT)
    fleet.launch(1)
    third = fleet.launch()
    await fleet.until(lambda: fleet.ready(1) and fleet.ready(third), START_LIMIT)
    assert not fleet.ended(jobs)
    await fleet.until(lambda: fleet.ended(jobs), LAST_LIMIT)
    await asyncio.gather(fleet.stop(fleet.workers[1]), fleet.stop(fleet.workers[third]))
    assert fleet.computed_twice() == before
    assert [fleet.attempts(job) for job in jobs] == [1] * 4
    await told_once(fleet)


async def test_a_worker_that_joins_gets_work(fleet: Fleet):
    async with trickle(fleet):
        await joins(fleet)
        assert await fleet.stop(fleet.workers.pop()) == 0
    assert fleet.running() == [0, 1]


async def test_an_event_that_comes_again_while_its_job_is_open(fleet: Fleet):
    jobs = [await fleet.submit("diarize", "sleep-2.wav", group=group) for group in range(4)]
    await fleet.until(lambda: opened(fleet, *jobs), START_LIMIT)
    for job in jobs * 3:
        await fleet.publish(job)
    await fleet.settled()
    assert not {job for job, _ in fleet.computed_twice()} & {job.id for job in jobs}
    await told_once(fleet)

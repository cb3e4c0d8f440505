"""Jobs spread over more partitions while jobs are taken in: processes of the old layout and of the new one publish side by side.

docs/operations.md tells operators to do what is done here. Apache Kafka is among the brokers under `make test-real`.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from uuid_utils import uuid7

from producer_api.broker_watch import BrokerWatch
from producer_api.metrics import Metrics
from producer_api.publishing import Publisher
from producer_api.threads import Threads
from schemas.errors import LayoutMismatch
from schemas.events import JOB_REQUESTED, Event, new_traceparent
from schemas.jobs import LIVE_RUN, Job, JobRequested, Lane
from schemas.topics import SLOTS, Topic
from tests.support.real import REASON
from tests.support.worlds import KAFKA, SOON, Kafka, Memory, World
from turnstream import bus as buses
from turnstream import object_store
from turnstream.bus import Bus
from turnstream.layout import append, grow
from turnstream.object_store.memory import MemoryStore
from turnstream.operations import installed
from turnstream.records import Records
from turnstream.settings import Settings

KINDS = [(operation, lane) for operation in installed() for lane in Lane]


class Service:
    """What publishes in one process of the API, with the layout that was in force when it started."""

    def __init__(self, bus: Bus, records: Records, threads: Threads) -> None:
        self._bus, self._records, self._threads = bus, records, threads

    async def start(self, groups: int) -> "Service":
        await self._bus.start()
        self.watch = BrokerWatch(
            self._bus, self._records, self._threads, partition_groups=groups, operations=installed()
        )
        await self.watch.check()
        self._publisher = Publisher(self._bus, self._records, self.watch, self._threads, Metrics())
        return self

    async def publish(self, count: int) -> list[Job]:
        jobs = [_job(*KINDS[number % len(KINDS)]) for number in range(count)]
        for job in jobs:
            self._records.create(job, None)
            await self._publisher.accept(job, LIVE_RUN, new_traceparent())
        return jobs


def _job(operation: str, lane: Lane) -> Job:
    return Job(id=str(uuid7()), operation=operation, lane=lane, owner="alice", created_at=datetime.now(UTC))


@pytest.fixture(params=["memory"] + [pytest.param("kafka", marks=pytest.mark.real)] * bool(KAFKA))
async def world(request: pytest.FixtureRequest) -> World:
    world: World = Memory() if request.param == "memory" else Kafka(KAFKA or "", idempotent=True)
    await world.clean()
    return world


@pytest.fixture
async def bus(world: World) -> AsyncIterator[Bus]:
    """An operator's."""
    bus = world.bus()
    await bus.start()
    yield bus
    await bus.close()


@pytest.fixture
def records() -> Records:
    return Records(MemoryStore())


@pytest.fixture
async def service(world: World, records: Records) -> AsyncIterator[Callable[[int], Awaitable[Service]]]:
    """A process of the API for so many groups of partitions, started."""
    threads, buses = Threads(4), list[Bus]()

    async def start(groups: int) -> Service:
        buses.append(world.bus())
        return await Service(buses[-1], records, threads).start(groups)

    yield start
    for bus in buses:
        await bus.close()
    threads.close()


async def test_no_job_is_lost_while_the_layout_grows(bus: Bus, records: Records, service) -> None:
    old = await service(1)
    jobs = await old.publish(30)
    during = asyncio.create_task(old.publish(60))  # it goes on while partitions are appended
    await append(bus, records, 3)
    new = await service(3)
    jobs += await during
    for _ in range(3):
        later = await asyncio.gather(old.publish(10), new.publish(30))
        jobs += [job for published in later for job in published]

    layout = records.layout()
    async with asyncio.timeout(SOON), aclosing(bus.read(Topic.JOBS)) as reading:
        found = [await anext(reading) for _ in jobs]
    requests = [Event.parse(record.headers, record.value).read(JOB_REQUESTED, JobRequested) for record in found]
    assert Counter(request.job_id for request in requests) == Counter(job.id for job in jobs)
    assert {record.position.partition // layout.slots for record in found} == {0, 1, 2}
    reach = await bus.reach(Topic.JOBS, "workers")
    for record, request in zip(found, requests, strict=True):
        assert record.position.partition in reach
        assert record.position.partition % layout.slots == layout.slot[f"{request.operation}/{request.lane}"]
        mark = records.mark(request.job_id, LIVE_RUN)
        assert (mark.partition, mark.offset) == (record.position.partition, record.position.offset)


async def test_a_growth_that_was_interrupted_is_taken_up_again(bus: Bus, records: Records, service) -> None:
    await service(1)
    await bus.grow(Topic.JOBS, 2 * SLOTS)  # and then the power went off
    with pytest.raises(LayoutMismatch, match="26 partitions instead of 13"):
        await service(1)
    await append(bus, records, 2)
    assert (await (await service(2)).publish(1))[0].operation in installed()


async def test_a_process_of_the_old_layout_does_not_start_any_more(bus: Bus, records: Records, service) -> None:
    await service(1)
    await append(bus, records, 2)
    with pytest.raises(LayoutMismatch, match="PARTITION_GROUPS=2"):
        await service(1)
    with pytest.raises(LayoutMismatch, match="fewer"):
        await append(bus, records, 1)


async def test_before_any_service_started_there_is_nothing_to_grow(bus: Bus) -> None:
    with pytest.raises(LayoutMismatch, match="no layout yet"):
        await append(bus, Records(MemoryStore()), 2)


@pytest.mark.real
@pytest.mark.skipif(not KAFKA, reason=REASON)
async def test_the_command_grows_apache_kafka(tmp_path: Path) -> None:
    await Kafka(KAFKA or "", idempotent=True).clean()
    settings = Settings(_env_file=None, data_dir=tmp_path, broker="kafka", kafka_bootstrap_servers=KAFKA)
    records, bus, threads = Records(object_store.connect(settings)), buses.connect(settings), Threads(4)
    await Service(bus, records, threads).start(1)
    await asyncio.to_thread(grow, settings, 2)
    assert set(await bus.reach(Topic.JOBS, "workers")) == set(range(2 * SLOTS))
    assert records.layout().groups == 2
    await bus.close()
    threads.close()

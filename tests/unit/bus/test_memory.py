"""What the twin adds to the port: the part that a broker and its workers play. The port itself: tests/contract/test_bus.py."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from schemas.errors import BrokerUnavailable
from schemas.topics import Topic, TopicSpec
from turnstream.bus.memory import MemoryBus

JOBS = TopicSpec(name=Topic.JOBS, partitions=2)


@pytest.fixture
async def bus() -> AsyncIterator[MemoryBus]:
    bus = MemoryBus()
    await bus.start()
    await bus.ensure_topics([JOBS])
    yield bus
    await bus.close()


async def test_records_show_what_was_published(bus: MemoryBus):
    await bus.publish(Topic.JOBS, key=b"b", value=b"2", partition=1)
    await bus.publish(Topic.JOBS, key=b"a", value=b"1", partition=0)
    assert [record.value for record in bus.records(Topic.JOBS)] == [b"1", b"2"]
    assert bus.records(Topic.JOBS_DLQ) == []


async def test_a_commit_is_of_one_group_and_partition(bus: MemoryBus):
    bus.commit("workers", Topic.JOBS, 1, 7)
    assert [r.committed for r in (await bus.reach(Topic.JOBS, "workers")).values()] == [None, 7]
    assert [r.committed for r in (await bus.reach(Topic.JOBS, "others")).values()] == [None, None]


async def test_a_broker_that_was_away_has_kept_everything(bus: MemoryBus):
    before = await bus.topic_id(Topic.JOBS)
    await bus.publish(Topic.JOBS, key=None, value=b"1", partition=0)
    bus.commit("workers", Topic.JOBS, 0, 1)
    bus.break_down()
    for call in (
        bus.publish(Topic.JOBS, key=None, value=b"x"),
        bus.ensure_topics([JOBS]),
        bus.topic_id(Topic.JOBS),
        bus.reach(Topic.JOBS, "workers"),
    ):
        with pytest.raises(BrokerUnavailable):
            await call
    bus.mend()
    assert await bus.topic_id(Topic.JOBS) == before
    assert (await bus.publish(Topic.JOBS, key=None, value=b"2", partition=0)).offset == 1
    assert (await bus.reach(Topic.JOBS, "workers"))[0].committed == 1


async def test_readers_hear_nothing_while_the_broker_is_away_and_all_after(bus: MemoryBus):
    bus.break_down()
    async with aclosing(bus.read(Topic.JOBS)) as records:
        waiting = asyncio.ensure_future(anext(records))
        await asyncio.sleep(0)
        bus.mend()
        await bus.publish(Topic.JOBS, key=None, value=b"x")
        assert (await asyncio.wait_for(waiting, 5)).value == b"x"


async def test_a_broker_that_forgot_has_neither_topics_nor_commits(bus: MemoryBus):
    before = await bus.topic_id(Topic.JOBS)
    bus.commit("workers", Topic.JOBS, 0, 1)
    bus.forget()
    assert await bus.topic_id(Topic.JOBS) is None
    await bus.ensure_topics([JOBS])
    assert await bus.topic_id(Topic.JOBS) not in {None, before}
    assert (await bus.reach(Topic.JOBS, "workers"))[0].committed is None

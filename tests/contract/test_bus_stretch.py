"""What every bus tells of a stretch of time, and where it has a group begin; on the twin and on Apache Kafka."""

import asyncio
import time

import pytest

from schemas.topics import Topic
from tests.support.worlds import JOBS, ON_KAFKA, SOON, World
from turnstream.bus import Bus, Record

pytestmark = pytest.mark.parametrize("world", ["memory", pytest.param("kafka", marks=ON_KAFKA)], indirect=True)


async def publish(bus: Bus, *values: bytes) -> None:
    for value in values:
        for partition in range(2):
            await bus.publish(Topic.JOBS, key=b"k", value=value, partition=partition)


async def a_moment() -> float:
    """One that no record shares with those before or after it."""
    await asyncio.sleep(0.005)
    now = time.time()
    await asyncio.sleep(0.005)
    return now


async def test_a_time_is_an_offset_of_each_partition(bus: Bus) -> None:
    before = await a_moment()
    await publish(bus, b"1", b"2")
    between = await a_moment()
    await publish(bus, b"3")
    after = await a_moment()
    assert await bus.offsets_at(Topic.JOBS, before) == {0: 0, 1: 0, 2: 0}
    assert await bus.offsets_at(Topic.JOBS, between) == {0: 2, 1: 2, 2: 0}
    assert await bus.offsets_at(Topic.JOBS, after) == {0: 3, 1: 3, 2: 0}
    await publish(bus, b"4")
    assert await bus.offsets_at(Topic.JOBS, after) == {0: 3, 1: 3, 2: 0}


async def test_a_stretch_has_what_lies_between_its_offsets(bus: Bus) -> None:
    await publish(bus, *(b"%d" % n for n in range(1, 9)))

    async def read(reaches: dict[int, tuple[int, int]]) -> list[Record]:
        async with asyncio.timeout(SOON):
            return [record async for record in bus.snapshot(Topic.JOBS, reaches)]

    found = await read({0: (2, 5), 1: (6, 8)})
    assert [record.value for record in found if record.position.partition == 0] == [b"3", b"4", b"5"]
    assert [record.value for record in found if record.position.partition == 1] == [b"7", b"8"]
    assert {record.position.partition for record in found} == {0, 1}
    assert await read({0: (3, 3), 2: (0, 0)}) == []


async def test_a_group_begins_where_it_is_told_once(bus: Bus, world: World) -> None:
    await publish(bus, b"1", b"2", b"3")
    await world.commit("anew", Topic.JOBS, 1, 1)
    await bus.begin_group(Topic.JOBS, "anew", {0: 2, 1: 2, 2: 0})
    await bus.begin_group(Topic.JOBS, "anew", {0: 3, 1: 3, 2: 0})
    reach = await bus.reach(Topic.JOBS, "anew")
    assert {number: reach[number].committed for number in range(JOBS.partitions)} == {0: 2, 1: 1, 2: 0}
    others = await bus.reach(Topic.JOBS, "another")
    assert {each.committed for each in others.values()} == {None}

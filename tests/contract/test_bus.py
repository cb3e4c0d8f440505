"""What every bus promises, on the twin and on real brokers.

The embedded broker is always among them; TURNSTREAM_TEST_KAFKA=host:port adds an Apache Kafka that is running there, and that
loses all its topics. What needs a broker to go away runs on one of its own.
"""

import asyncio
import math
import time
from collections import defaultdict
from contextlib import aclosing
from uuid import uuid4

import pytest

from schemas.errors import BrokerUnavailable, EventInvalid, LayoutMismatch
from schemas.topics import Layout, Topic, TopicSpec
from tests.support.worlds import (
    CONTROL,
    JOBS,
    RESULTS,
    SLACK,
    SOON,
    TIMEOUT,
    Embedded,
    World,
    on_brokers_that_go_away,
    take,
    until_back,
)
from turnstream.bus import Bus, Position

# Publish


async def test_publishing_says_where_the_record_lies(bus: Bus) -> None:
    assert await bus.publish(Topic.JOBS, key=b"a", value=b"1", partition=2) == Position(Topic.JOBS, 2, 0)
    assert await bus.publish(Topic.JOBS, key=b"a", value=b"2", partition=2) == Position(Topic.JOBS, 2, 1)
    assert await bus.publish(Topic.JOBS, key=b"a", value=b"3", partition=0) == Position(Topic.JOBS, 0, 0)


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [
        (b"key", b"value", (("ce_id", b"1"), ("content-type", b"application/json"))),
        (None, b"value", ()),
        (b"key", None, (("error", "schön".encode()),)),
        (None, None, ()),
        (b"", b"", (("empty", b""),)),
        (b"\x00\xff", bytes(range(256)), (("same", b"2"), ("same", b"1"))),
    ],
)
async def test_a_record_comes_back_as_it_went(bus: Bus, key, value, headers) -> None:
    before = time.time()
    position = await bus.publish(Topic.JOBS, key=key, value=value, headers=headers)
    [record] = await take(bus, Topic.JOBS, 1)
    assert (record.key, record.value, record.headers, record.position) == (key, value, headers, position)
    assert math.floor(before * 1000) / 1000 <= record.timestamp <= time.time()


async def test_records_of_one_key_stay_in_order(bus: Bus) -> None:
    keys = [b"a", b"b", b"c", b"d"]
    await asyncio.gather(*(bus.publish(Topic.JOBS, key=key, value=b"%d" % n) for n in range(50) for key in keys))
    values, partitions = defaultdict(list), defaultdict(set)
    for record in await take(bus, Topic.JOBS, 200):
        values[record.key].append(int(record.value or b""))
        partitions[record.key].add(record.position.partition)
    assert values == {key: list(range(50)) for key in keys}
    assert all(len(where) == 1 for where in partitions.values())


async def test_an_unknown_topic_is_refused_and_not_made(bus: Bus) -> None:
    with pytest.raises(BrokerUnavailable):
        await bus.publish(Topic.JOBS_DLQ, key=None, value=b"x")
    assert await bus.topic_id(Topic.JOBS_DLQ) is None


async def test_an_unknown_partition_is_refused(bus: Bus) -> None:
    with pytest.raises(BrokerUnavailable):
        await bus.publish(Topic.JOBS, key=None, value=b"x", partition=JOBS.partitions)


async def test_a_dead_letter_may_be_large_and_what_is_larger_is_refused_for_good(bus: Bus) -> None:
    [letters] = [spec for spec in Layout().topics() if spec.name == Topic.JOBS_DLQ]
    await bus.ensure_topics([letters])
    await bus.publish(Topic.JOBS_DLQ, key=None, value=bytes(8 << 20))
    with pytest.raises(EventInvalid):
        await bus.publish(Topic.JOBS_DLQ, key=None, value=bytes(10 << 20))


async def test_a_caller_who_leaves_disturbs_nobody(bus: Bus) -> None:
    leaving = [asyncio.create_task(bus.publish(Topic.JOB_CONTROL, key=None, value=b"x")) for _ in range(10)]
    await asyncio.sleep(0)
    for task in leaving:
        task.cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    assert all(task.cancelled() for task in leaving)
    assert (await bus.publish(Topic.JOB_CONTROL, key=None, value=b"y")).topic == Topic.JOB_CONTROL


async def test_a_closed_bus_takes_nothing(bus: Bus) -> None:
    await bus.close()
    with pytest.raises(BrokerUnavailable):
        await bus.publish(Topic.JOBS, key=None, value=b"x")


async def test_closing_waits_for_what_is_under_way(world: World, bus: Bus) -> None:
    publishing = [asyncio.create_task(bus.publish(Topic.JOB_CONTROL, key=None, value=b"x")) for _ in range(100)]
    await asyncio.sleep(0)
    await bus.close()
    outcomes = await asyncio.wait_for(asyncio.gather(*publishing, return_exceptions=True), SOON)
    assert all(isinstance(outcome, Position | BrokerUnavailable) for outcome in outcomes)


# Read


async def test_reading_begins_at_the_beginning_and_goes_on_live(bus: Bus) -> None:
    await bus.publish(Topic.JOBS, key=None, value=b"old", partition=1)
    async with asyncio.timeout(SOON), aclosing(bus.read(Topic.JOBS)) as records:
        assert (await anext(records)).value == b"old"
        waiting = asyncio.ensure_future(anext(records))
        await bus.publish(Topic.JOBS, key=None, value=b"new", partition=2)
        assert (await waiting).value == b"new"


async def test_what_is_older_than_since_is_dropped_and_nothing_else(bus: Bus) -> None:
    for n in range(20):
        await bus.publish(Topic.JOB_CONTROL, key=None, value=b"old %d" % n)
    await asyncio.sleep(0.002)  # timestamps count milliseconds
    since = time.time()
    await bus.publish(Topic.JOB_CONTROL, key=None, value=b"new")
    [record] = await take(bus, Topic.JOB_CONTROL, 1, since=since)
    assert record.value == b"new"


async def test_every_reader_gets_every_record(bus: Bus) -> None:
    readers = [asyncio.create_task(take(bus, Topic.DIARIZATION_RESULTS, 30)) for _ in range(2)]
    for n in range(30):
        await bus.publish(Topic.DIARIZATION_RESULTS, key=b"%d" % n, value=b"%d" % n)
    for records in await asyncio.gather(*readers):
        assert {record.value for record in records} == {b"%d" % n for n in range(30)}


async def test_a_long_topic_is_read_whole(bus: Bus) -> None:
    await asyncio.gather(*(bus.publish(Topic.JOBS, key=b"%d" % n, value=b"%d" % n) for n in range(3000)))
    assert {int(record.value or b"") for record in await take(bus, Topic.JOBS, 3000)} == set(range(3000))


async def test_a_waiting_reader_stops_at_once(bus: Bus) -> None:
    records = bus.read(Topic.JOB_CONTROL)
    waiting = asyncio.ensure_future(anext(records))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    started = time.monotonic()
    await records.aclose()
    assert time.monotonic() - started < 1


async def test_closing_the_bus_ends_its_readers(bus: Bus) -> None:
    await bus.publish(Topic.JOB_CONTROL, key=None, value=b"x")
    records = bus.read(Topic.JOB_CONTROL)
    assert (await anext(records)).value == b"x"
    waiting = asyncio.ensure_future(anext(records))
    await asyncio.sleep(0.05)
    await bus.close()
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(waiting, SOON)


async def test_a_topic_that_is_not_there_yet_is_waited_for(bus: Bus) -> None:
    reading = asyncio.create_task(take(bus, Topic.JOB_PROGRESS, 1))
    await asyncio.sleep(0.05)
    await bus.ensure_topics([TopicSpec(name=Topic.JOB_PROGRESS, partitions=1)])
    await bus.publish(Topic.JOB_PROGRESS, key=None, value=b"x")
    assert [record.value for record in await reading] == [b"x"]


# Topics


async def test_the_layout_can_be_agreed_on_again_and_by_two_at_once(world: World, bus: Bus) -> None:
    others = [
        TopicSpec(name=name, partitions=2) for name in Topic if name not in {JOBS.name, RESULTS.name, CONTROL.name}
    ]
    second = world.bus()
    await second.start()
    await asyncio.gather(bus.ensure_topics(others), second.ensure_topics(others))
    await bus.ensure_topics([JOBS, RESULTS, CONTROL, *others])
    if second is not bus:
        await second.close()


@pytest.mark.parametrize("partitions", [2, 4])
async def test_another_layout_is_refused_with_what_to_do(bus: Bus, partitions: int) -> None:
    before = await bus.topic_id(Topic.JOBS)
    with pytest.raises(LayoutMismatch, match=rf"gpu-jobs has 3 partitions instead of {partitions}.*PARTITION_GROUPS"):
        await bus.ensure_topics([TopicSpec(name=Topic.JOBS, partitions=partitions), CONTROL])
    assert await bus.topic_id(Topic.JOBS) == before


@on_brokers_that_go_away
async def test_an_id_stays_until_the_topic_is_made_anew(world: World, bus: Bus) -> None:
    first = await bus.topic_id(Topic.JOBS)
    assert first
    assert first != await bus.topic_id(Topic.JOB_CONTROL)
    await bus.ensure_topics([JOBS])
    assert await bus.topic_id(Topic.JOBS) == first
    await world.take_away()
    await world.bring_back_empty()
    await until_back(bus, [CONTROL])
    assert await bus.topic_id(Topic.JOBS) is None
    await bus.ensure_topics([JOBS])
    assert await bus.topic_id(Topic.JOBS) not in {None, first}


async def test_reach_tells_what_the_group_has_done(world: World, bus: Bus) -> None:
    group = f"workers-{uuid4()}"
    for _ in range(3):
        await bus.publish(Topic.JOBS, key=None, value=b"x", partition=1)
    reach = await bus.reach(Topic.JOBS, group)
    assert {p: (r.low, r.committed) for p, r in reach.items()} == {0: (0, None), 1: (0, None), 2: (0, None)}
    await world.commit(group, Topic.JOBS, 1, 2)
    reach = await bus.reach(Topic.JOBS, group)
    assert {p: (r.low, r.committed) for p, r in reach.items()} == {0: (0, None), 1: (0, 2), 2: (0, None)}


async def test_reach_of_an_unknown_topic_is_an_error(bus: Bus) -> None:
    with pytest.raises(BrokerUnavailable):
        await bus.reach(Topic.JOBS_DLQ, "workers")


async def test_a_topic_grows_and_keeps_what_it_has_where_the_broker_can(world: World, bus: Bus) -> None:
    old = await bus.publish(Topic.JOBS, key=None, value=b"old", partition=2)
    await bus.grow(Topic.JOBS, JOBS.partitions)  # nothing to do
    if isinstance(world, Embedded):
        with pytest.raises(LayoutMismatch, match="not supported by broker"):
            await bus.grow(Topic.JOBS, 6)
        return
    for _ in range(2):
        await bus.grow(Topic.JOBS, 6)
    new = await bus.publish(Topic.JOBS, key=None, value=b"new", partition=5)
    assert {record.position: record.value for record in await take(bus, Topic.JOBS, 2)} == {old: b"old", new: b"new"}
    await bus.ensure_topics([JOBS.model_copy(update={"partitions": 6})])
    assert set(await bus.reach(Topic.JOBS, "workers")) == set(range(6))


async def test_a_topic_never_shrinks_and_an_unknown_one_does_not_grow(bus: Bus) -> None:
    with pytest.raises(LayoutMismatch, match="3 partitions"):
        await bus.grow(Topic.JOBS, 2)
    with pytest.raises(BrokerUnavailable):
        await bus.grow(Topic.JOBS_DLQ, 2)


# A broker that goes away


@on_brokers_that_go_away
async def test_every_call_fails_in_time_while_the_broker_is_away(world: World, bus: Bus) -> None:
    await bus.publish(Topic.JOBS, key=None, value=b"x")
    await world.take_away()
    started = time.monotonic()
    outcomes = await asyncio.gather(
        bus.publish(Topic.JOBS, key=None, value=b"x"),
        bus.ensure_topics([JOBS]),
        bus.topic_id(Topic.JOBS),
        bus.reach(Topic.JOBS, "workers"),
        return_exceptions=True,
    )
    assert {type(outcome) for outcome in outcomes} == {BrokerUnavailable}
    assert time.monotonic() - started < TIMEOUT + SLACK
    await world.bring_back_empty()
    await until_back(bus, [JOBS])
    assert (await asyncio.wait_for(bus.publish(Topic.JOBS, key=None, value=b"y"), SOON)).offset == 0


@on_brokers_that_go_away
async def test_reach_is_told_again_after_the_broker_was_away(world: World, bus: Bus) -> None:
    group = f"workers-{uuid4()}"
    await bus.publish(Topic.JOBS, key=None, value=b"x", partition=1)
    await world.commit(group, Topic.JOBS, 1, 1)
    assert (await bus.reach(Topic.JOBS, group))[1].committed == 1
    await world.take_away()
    with pytest.raises(BrokerUnavailable):
        await bus.reach(Topic.JOBS, group)
    await world.bring_back_empty()
    await until_back(bus, [JOBS])
    assert {reach.committed for reach in (await bus.reach(Topic.JOBS, group)).values()} == {None}
    await world.commit(group, Topic.JOBS, 1, 0)
    assert (await bus.reach(Topic.JOBS, group))[1].committed == 0


@on_brokers_that_go_away
async def test_closing_does_not_wait_for_a_broker_that_is_away(world: World, bus: Bus) -> None:
    await bus.publish(Topic.JOB_CONTROL, key=None, value=b"x")
    await world.take_away()
    waiting = asyncio.create_task(bus.publish(Topic.JOB_CONTROL, key=None, value=b"x"))
    await asyncio.sleep(0)
    started = time.monotonic()
    await bus.close()
    assert time.monotonic() - started < TIMEOUT + SLACK
    with pytest.raises(BrokerUnavailable):
        await asyncio.wait_for(waiting, SOON)


@on_brokers_that_go_away
async def test_a_bus_starts_before_its_broker(world: World) -> None:
    await world.take_away()
    bus = world.bus()
    started = time.monotonic()
    await bus.start()
    assert time.monotonic() - started < 0.5
    reading = asyncio.create_task(take(bus, Topic.JOBS, 1))
    await world.bring_back_empty()
    await until_back(bus, [JOBS])
    await bus.publish(Topic.JOBS, key=None, value=b"x")
    assert [record.value for record in await reading] == [b"x"]
    await bus.close()


@on_brokers_that_go_away
async def test_a_reader_outlives_its_broker(world: World, bus: Bus) -> None:
    for n in range(5):
        await bus.publish(Topic.JOB_CONTROL, key=None, value=b"old %d" % n)
    async with asyncio.timeout(2 * SOON), aclosing(bus.read(Topic.JOB_CONTROL)) as records:
        for n in range(5):
            assert (await anext(records)).value == b"old %d" % n
        waiting = asyncio.ensure_future(anext(records))
        await world.take_away()
        await world.bring_back_empty()
        await until_back(bus, [CONTROL])
        # Fewer records than the reader has seen: going on from the old offsets would hear nothing.
        await bus.publish(Topic.JOB_CONTROL, key=None, value=b"new 0")
        await bus.publish(Topic.JOB_CONTROL, key=None, value=b"new 1")
        heard = [(await waiting).value]
        while heard[-1] != b"new 1":
            heard.append((await anext(records)).value)
        assert list(dict.fromkeys(heard)) == [b"new 0", b"new 1"]

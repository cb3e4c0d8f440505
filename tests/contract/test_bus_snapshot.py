"""What every bus tells of what a topic holds now, on the twin and on real brokers."""

import asyncio
from contextlib import aclosing
from uuid import uuid4

import pytest
from confluent_kafka import Producer

from schemas.errors import BrokerUnavailable
from schemas.topics import DEAD_LETTER_LIMIT, Topic
from tests.support.worlds import DEAD, JOBS, ON_KAFKA, SOON, Kafka, World, on_brokers_that_go_away
from turnstream.bus import Bus, Record


async def snapshot(bus: Bus, topic: str) -> list[Record]:
    async with asyncio.timeout(SOON):
        return [record async for record in bus.snapshot(topic)]


async def test_a_snapshot_has_all_that_was_published_and_ends(bus: Bus) -> None:
    assert await snapshot(bus, Topic.JOBS) == []
    # Many at once: they reach the broker in batches.
    sent = await asyncio.gather(
        *(bus.publish(Topic.JOBS, key=None, value=b"%d" % n, headers=(("n", b"1"),)) for n in range(3000))
    )
    records = await snapshot(bus, Topic.JOBS)
    assert {record.position: record.value for record in records} == {at: b"%d" % n for n, at in enumerate(sent)}
    for partition in range(JOBS.partitions):
        offsets = [record.position.offset for record in records if record.position.partition == partition]
        assert offsets == list(range(len(offsets)))
    await bus.publish(Topic.JOBS, key=b"later", value=b"later")
    assert len(await snapshot(bus, Topic.JOBS)) == 3001


async def test_a_snapshot_brings_large_records(bus: Bus) -> None:
    await bus.ensure_topics([DEAD])
    values = [bytes([n]) * DEAD_LETTER_LIMIT for n in range(3)]
    for value in values:
        await bus.publish(Topic.JOBS_DLQ, key=b"key", value=value)
    assert [record.value for record in await snapshot(bus, Topic.JOBS_DLQ)] == values


async def test_a_snapshot_can_be_left_and_the_next_begins_anew(bus: Bus) -> None:
    for n in range(3):
        await bus.publish(Topic.JOB_CONTROL, key=None, value=b"%d" % n)
    async with asyncio.timeout(SOON), aclosing(bus.snapshot(Topic.JOB_CONTROL)) as records:
        assert (await anext(records)).value == b"0"
    assert [record.value for record in await snapshot(bus, Topic.JOB_CONTROL)] == [b"0", b"1", b"2"]


async def test_a_snapshot_of_an_unknown_topic_is_an_error(bus: Bus) -> None:
    with pytest.raises(BrokerUnavailable):
        await snapshot(bus, Topic.JOB_PROGRESS)


@on_brokers_that_go_away
async def test_a_snapshot_of_a_broker_that_is_away_is_an_error(world: World, bus: Bus) -> None:
    await world.take_away()
    with pytest.raises(BrokerUnavailable):
        await snapshot(bus, Topic.JOBS)


@pytest.mark.parametrize("world", [pytest.param("kafka", marks=ON_KAFKA)], indirect=True)
async def test_a_snapshot_has_what_transactions_committed_and_waits_for_none(world: Kafka, bus: Bus) -> None:
    producer = Producer({"bootstrap.servers": world.bootstrap, "transactional.id": f"test-{uuid4()}"})
    await asyncio.to_thread(producer.init_transactions, SOON)
    for value, end in (
        (b"kept", producer.commit_transaction),
        (b"aborted", producer.abort_transaction),
        (b"open", None),
    ):
        producer.begin_transaction()
        producer.produce(Topic.JOB_CONTROL, value)
        await asyncio.to_thread(producer.flush, SOON)
        if end is not None:
            await asyncio.to_thread(end, SOON)
    assert [record.value for record in await snapshot(bus, Topic.JOB_CONTROL)] == [b"kept"]
    await asyncio.to_thread(producer.commit_transaction, SOON)
    assert [record.value for record in await snapshot(bus, Topic.JOB_CONTROL)] == [b"kept", b"open"]

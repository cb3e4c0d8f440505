"""What only the adapter for Kafka's protocol can get wrong, shown without a broker or with one that hangs."""

import asyncio
import logging
import time

import pytest
from confluent_kafka import Message

from schemas.errors import BrokerUnavailable
from schemas.topics import Layout, Topic
from tests.support.brokers import EmbeddedBroker, free_port
from turnstream.bus import connect
from turnstream.bus.driver import LOG, Pace
from turnstream.bus.embedded import HOST
from turnstream.bus.kafka import KafkaBus, _delivered
from turnstream.bus.kafka_snapshot import WHOLE, TopicSnapshot
from turnstream.settings import Settings


def nowhere(timeout: float) -> KafkaBus:
    return KafkaBus(f"{HOST}:{free_port()}", timeout=timeout, idempotent=False)


def test_without_an_address_the_error_says_what_to_set():
    with pytest.raises(BrokerUnavailable, match=r"KAFKA_BOOTSTRAP_SERVERS.*turnstream up"):
        connect(Settings(_env_file=None, kafka_bootstrap_servers=""))


@pytest.mark.parametrize(("kind", "idempotent"), [("embedded", False), ("kafka", True)])
def test_idempotence_is_for_apache_kafka_alone(kind: str, idempotent: bool):
    bus = connect(Settings(_env_file=None, broker=kind, kafka_bootstrap_servers="127.0.0.1:9"))
    assert isinstance(bus, KafkaBus)
    assert bus._producing["enable.idempotence"] is idempotent


async def test_what_waits_for_the_broker_is_bounded():
    bus = nowhere(timeout=30)
    await bus.start()
    bus._timeout = 0.1  # what is left when the bus closes is given up soon
    waiting = [asyncio.create_task(bus.publish(Topic.JOBS, key=None, value=b"x")) for _ in range(10_000)]
    await asyncio.sleep(0)
    with pytest.raises(BrokerUnavailable, match="too many"):
        await bus.publish(Topic.JOBS, key=None, value=b"x")
    await bus.close()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {BrokerUnavailable}


async def test_a_caller_who_left_leaves_nothing_behind():
    bus = nowhere(timeout=1)
    await bus.start()
    task = asyncio.create_task(bus.publish(Topic.JOBS, key=None, value=b"x"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with asyncio.timeout(5):
        while len(bus._producer):  # noqa: ASYNC110 - the driver tells nobody
            await asyncio.sleep(0.05)
    await bus.close()


async def test_an_acknowledgement_without_an_offset_is_none():
    acknowledged = asyncio.get_running_loop().create_future()
    _delivered(acknowledged, None, Message(topic=Topic.JOBS, partition=0, offset=-1))
    with pytest.raises(BrokerUnavailable, match="without an offset"):
        await acknowledged


async def test_a_broker_that_is_away_is_no_flood_in_the_log(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(LOG, "filters", [Pace(seconds=30)])  # one that has not seen the other tests' lines
    bus = nowhere(timeout=2)
    with caplog.at_level(logging.DEBUG, logger=LOG.name):
        await bus.start()
        reading = asyncio.create_task(anext(bus.read(Topic.JOB_CONTROL)))
        with pytest.raises(BrokerUnavailable):
            await bus.publish(Topic.JOBS, key=None, value=b"x")
        await bus.close()
    with pytest.raises(StopAsyncIteration):
        await reading
    assert 1 <= len(caplog.records) <= 3
    assert capfd.readouterr().err == ""


@pytest.mark.stack
async def test_a_broker_that_hangs_is_away():
    async with EmbeddedBroker() as broker:
        bus = KafkaBus(broker.bootstrap, timeout=1, idempotent=False)
        await bus.start()
        await bus.ensure_topics(Layout().topics())
        broker.hang()
        started = time.monotonic()
        outcomes = await asyncio.gather(
            bus.publish(Topic.JOBS, key=None, value=b"x"),
            bus.topic_id(Topic.JOBS),
            bus.reach(Topic.JOBS, "workers"),
            return_exceptions=True,
        )
        assert {type(outcome) for outcome in outcomes} == {BrokerUnavailable}
        assert time.monotonic() - started < 3
        broker.go_on()
        assert await bus.topic_id(Topic.JOBS)
        await bus.publish(Topic.JOBS, key=None, value=b"x")
        await bus.close()


async def test_a_snapshot_does_not_take_silence_for_the_end():
    snapshot = TopicSnapshot({"bootstrap.servers": f"{HOST}:{free_port()}"}, Topic.JOBS, {0: WHOLE}, timeout=0.3)
    with pytest.raises(BrokerUnavailable, match=r"no answer within 0\.3 s"):
        await snapshot.batch()
    await snapshot.close()


async def test_a_snapshot_that_is_closed_in_the_middle_says_so():
    snapshot = TopicSnapshot({"bootstrap.servers": f"{HOST}:{free_port()}"}, Topic.JOBS, {0: WHOLE}, timeout=60)
    reading = asyncio.create_task(snapshot.batch())
    await asyncio.sleep(0)
    await snapshot.close()
    with pytest.raises(BrokerUnavailable, match="closed"):
        await asyncio.wait_for(reading, 10)

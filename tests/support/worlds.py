"""The brokers that every bus is tried on, as a test sees them from outside of the bus."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any, Protocol

import pytest
from confluent_kafka import Consumer, TopicPartition

from schemas.errors import BrokerUnavailable
from schemas.topics import Layout, Topic, TopicSpec
from tests.support.brokers import EmbeddedBroker, forget_topics
from tests.support.real import REAL_KAFKA, REASON
from tests.support.real import Kafka as KafkaServer
from turnstream.bus import Bus, Record
from turnstream.bus.kafka import KafkaBus
from turnstream.bus.memory import MemoryBus

TIMEOUT = 2.0  # seconds a bus of these tests may take
SLACK = 1.5  # the driver looks for what is too late once a second
SOON = 15.0

JOBS = TopicSpec(name=Topic.JOBS, partitions=3)
RESULTS = TopicSpec(name=Topic.DIARIZATION_RESULTS, partitions=2)
CONTROL = TopicSpec(name=Topic.JOB_CONTROL, partitions=1)
[DEAD] = [spec for spec in Layout().topics() if spec.name == Topic.JOBS_DLQ]


class World(Protocol):
    """A broker as the tests see it from outside of the bus."""

    def bus(self) -> Bus: ...
    async def commit(self, group: str, topic: str, partition: int, offset: int) -> None: ...
    async def take_away(self) -> None: ...
    async def bring_back_empty(self) -> None: ...
    async def clean(self) -> None: ...


class Memory:
    def __init__(self) -> None:
        self._bus = MemoryBus()

    def bus(self) -> Bus:
        return self._bus

    async def commit(self, group: str, topic: str, partition: int, offset: int) -> None:
        self._bus.commit(group, topic, partition, offset)

    async def take_away(self) -> None:
        self._bus.break_down()

    async def bring_back_empty(self) -> None:
        self._bus.forget()
        self._bus.mend()

    async def clean(self) -> None:
        pass


class Kafka:
    def __init__(self, bootstrap: str, *, idempotent: bool) -> None:
        self.bootstrap = bootstrap
        self.idempotent = idempotent

    def bus(self) -> Bus:
        return KafkaBus(self.bootstrap, timeout=TIMEOUT, idempotent=self.idempotent)

    async def commit(self, group: str, topic: str, partition: int, offset: int) -> None:
        await asyncio.to_thread(self._commit, group, TopicPartition(topic, partition, offset))

    def _commit(self, group: str, offset: TopicPartition) -> None:
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group, "enable.auto.commit": False})
        consumer.commit(offsets=[offset], asynchronous=False)
        consumer.close()

    async def take_away(self) -> None:
        raise NotImplementedError  # it is not ours

    async def bring_back_empty(self) -> None:
        raise NotImplementedError

    async def clean(self) -> None:
        await asyncio.to_thread(forget_topics, self.bootstrap)


class Embedded(Kafka):
    def __init__(self, broker: EmbeddedBroker) -> None:
        super().__init__(broker.bootstrap, idempotent=False)
        self._broker = broker

    async def take_away(self) -> None:
        self._broker.kill()

    async def bring_back_empty(self) -> None:
        await self._broker.start()

    async def clean(self) -> None:
        self._broker.kill()  # quicker than deleting topics, and nothing of the last test is left
        await self._broker.start()


class OwnKafka(Kafka):
    def __init__(self, server: KafkaServer) -> None:
        super().__init__(server.address, idempotent=True)
        self._server = server

    async def take_away(self) -> None:
        self._server.kill()

    async def bring_back_empty(self) -> None:
        self._server.forget()
        await asyncio.to_thread(self._server.start)

    async def clean(self) -> None:
        if not self._server.running:  # the last test left it away
            await asyncio.to_thread(self._server.start)
        await super().clean()


KAFKA = os.environ.get(REAL_KAFKA)


def brokers(real: str) -> list[Any]:
    return ["memory", "embedded"] + [pytest.param(real, marks=pytest.mark.real)] * bool(KAFKA)


ON_KAFKA = [pytest.mark.real, pytest.mark.skipif(KAFKA is None, reason=REASON)]
on_brokers_that_go_away = pytest.mark.parametrize("world", brokers("own-kafka"), indirect=True)


async def take(bus: Bus, topic: str, count: int, since: float | None = None) -> list[Record]:
    async with asyncio.timeout(SOON), aclosing(bus.read(topic, since=since)) as records:
        return [await anext(records) for _ in range(count)]


async def until_back(bus: Bus, specs: Sequence[TopicSpec]) -> None:
    async with asyncio.timeout(SOON):
        while True:
            try:
                return await bus.ensure_topics(specs)
            except BrokerUnavailable:
                await asyncio.sleep(0.05)

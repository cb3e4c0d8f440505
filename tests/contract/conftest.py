"""The worlds of the contract of buses."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.brokers import EmbeddedBroker
from tests.support.real import Kafka as KafkaServer
from tests.support.worlds import CONTROL, JOBS, KAFKA, RESULTS, Embedded, Kafka, Memory, OwnKafka, World, brokers
from turnstream.bus import Bus


@pytest.fixture(scope="session")
def embedded_broker():
    broker = EmbeddedBroker()
    yield broker
    broker.kill()


@pytest.fixture(scope="session")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    with KafkaServer(tmp_path_factory.mktemp("kafka")) as server:
        yield server


@pytest.fixture(params=brokers("kafka"))
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    world: World
    if request.param == "memory":
        world = Memory()
    elif request.param == "embedded":
        world = Embedded(request.getfixturevalue("embedded_broker"))
    elif request.param == "own-kafka":
        world = OwnKafka(request.getfixturevalue("own_kafka"))
    else:
        world = Kafka(KAFKA or "", idempotent=True)
    await world.clean()
    yield world


@pytest.fixture
async def bus(world: World) -> AsyncIterator[Bus]:
    bus = world.bus()
    await bus.start()
    await bus.ensure_topics([JOBS, RESULTS, CONTROL])
    yield bus
    await bus.close()

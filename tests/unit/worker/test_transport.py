"""What was fetched and dropped while a group changed comes again."""

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from processor.transport import seek_to_committed
from schemas.topics import TopicSpec
from tests.support.brokers import EmbeddedBroker
from turnstream.bus.kafka import KafkaBus

TOPIC = "gpu-jobs"


@pytest.mark.parametrize("committed", [0, 2])
async def test_what_is_not_committed_is_read_again(committed: int) -> None:
    async with EmbeddedBroker() as broker:
        bus = KafkaBus(broker.bootstrap, timeout=10, idempotent=False)
        await bus.start()
        await bus.ensure_topics([TopicSpec(name=TOPIC, partitions=1)])
        for number in range(4):
            await bus.publish(TOPIC, key=None, value=b"%d" % number, partition=0)
        consumer = AIOKafkaConsumer(
            TOPIC,
            bootstrap_servers=broker.bootstrap,
            group_id="g",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            assert [(await consumer.getone()).value for _ in range(4)] == [b"0", b"1", b"2", b"3"]
            if committed:
                await consumer.commit({TopicPartition(TOPIC, 0): committed})
            await seek_to_committed(consumer)
            assert (await asyncio.wait_for(consumer.getone(), 30)).value == b"%d" % committed
        finally:
            await consumer.stop()
            await bus.close()

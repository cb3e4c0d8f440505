"""What a broker holds, read by a client without a group."""

import uuid
from collections.abc import Iterable

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition


def records(bootstrap: str, topics: Iterable[str]) -> list[Message]:
    """All that a broker has of these topics now, as far as it is committed."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": uuid.uuid4().hex,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
    )
    try:
        partitions = [
            TopicPartition(topic, number, OFFSET_BEGINNING)
            for topic in topics
            for number in consumer.list_topics(topic, timeout=10).topics[topic].partitions
        ]
        consumer.assign(partitions)
        found, left = [], len(partitions)
        while left:
            message = consumer.poll(10)
            assert message is not None, "the broker went quiet"
            if message.error():
                left -= 1
            else:
                found.append(message)
        return found
    finally:
        consumer.close()

"""Reads what a topic of Kafka's protocol holds at this moment, without a group, in a thread of its own."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from schemas.errors import BrokerUnavailable
from turnstream.bus.base import Reaches, Record
from turnstream.bus.kafka_reader import CONSUMING, record

WHOLE = (OFFSET_BEGINNING, 1 << 63)
_BATCH = 256  # records handed to the loop at a time
_POLL = 0.1  # seconds between two looks at whether to stop


class TopicSnapshot:
    """These reaches of partitions of `topic`. `timeout`: seconds that the broker may say nothing.

    A partition's own end is where the broker, asked for more, says that there is no more (committed, on Apache Kafka): the
    embedded broker's list of offsets is wrong for batches.
    """

    def __init__(self, config: dict[str, Any], topic: str, reaches: Reaches, timeout: float) -> None:
        self._topic = topic
        self._timeout = timeout
        self._left = {number: end for number, (first, end) in reaches.items() if first < end}
        self._stopped = False
        self._consumer = Consumer(config | CONSUMING | {"enable.partition.eof": True})
        self._consumer.assign([TopicPartition(topic, number, reaches[number][0]) for number in self._left])
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"snapshot-{topic}")

    async def batch(self) -> list[Record]:
        """The next records; none at the end. Raises BrokerUnavailable."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._next)

    async def close(self) -> None:
        """Returns when the thread has ended, which takes a moment."""
        if not self._stopped:
            self._stopped = True
            await asyncio.get_running_loop().run_in_executor(self._thread, self._consumer.close)
            self._thread.shutdown(wait=False)

    def _next(self) -> list[Record]:
        deadline = time.monotonic() + self._timeout
        while self._left:
            if self._stopped:
                raise BrokerUnavailable("the bus is closed")
            if batch := self._fetch():
                return batch
            if time.monotonic() > deadline:
                raise BrokerUnavailable(f"reading {self._topic}: no answer within {self._timeout:g} s")
        return []

    def _fetch(self) -> list[Record]:
        first = self._consumer.poll(_POLL)
        if first is None:
            return []
        messages = [first, *self._consumer.consume(_BATCH - 1, timeout=0)]
        # A partition that has come to its end may grow: what is new there is none of our business.
        return [record(message) for message in messages if self._counts(message)]

    def _counts(self, message: Message) -> bool:
        error, partition = message.error(), message.partition()
        if partition is None:
            return False
        if error is None:
            offset, end = message.offset() or 0, self._left.get(partition, 0)
            if offset + 1 >= end and self._left.pop(partition, None):
                self._consumer.pause([TopicPartition(self._topic, partition)])
            return offset < end
        if error.code() == KafkaError._PARTITION_EOF:  # pyright: ignore[reportPrivateUsage]
            self._left.pop(partition, None)
        return False  # the driver repeats and mends by itself what else it reports as an error here

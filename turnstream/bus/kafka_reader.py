"""Reads a topic of Kafka's protocol from its beginning, without a group, in a thread of its own."""

import asyncio
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, TopicDescription  # pyright: ignore[reportPrivateImportUsage]

from turnstream.bus.base import Position, Record

_BATCH = 256  # records handed to the loop at a time; the next are fetched from the driver when these are read
_POLL = 0.1  # seconds between two looks at whether to stop
_LOOK = 1.0  # seconds between two looks at whether the topic was made anew
_SEEK = 0.1  # seconds between two looks for a topic that is not there yet
_LEADERS = 1.0  # seconds that learning the partitions' leaders may take
_ANSWER = 5.0  # seconds such a look may take; nothing waits for it

CONSUMING: dict[str, Any] = {
    "group.id": "turnstream-reader",  # the driver wants a name; partitions are assigned by hand and nothing is committed
    "enable.auto.commit": False,
    "auto.offset.reset": "earliest",
    "queued.min.messages": 1_000,
    "queued.max.messages.kbytes": 8 << 10,
    "log_level": 0,
}


class TopicReader:
    """All partitions of `topic`, from the beginning and then live.

    The thread works only while `batch` is awaited, so a slow reader holds the driver back. A broker without the topic (it
    was restarted, say) is waited for. The offsets of a topic made anew mean nothing in terms of the old one, and a consumer
    that goes on from them hears nothing, so the topic's id is looked at again and again, and a new id is read from the
    beginning with a new consumer.
    """

    def __init__(self, admin: AdminClient, config: dict[str, Any], topic: str, since: float | None) -> None:
        self._admin = admin
        self._config = config | CONSUMING
        self._topic = topic
        self._since_ms = int((since or 0) * 1000)  # as coarse as the timestamps it is compared with
        self._consumer: Consumer | None = None
        self._incarnation = ""
        self._looking: Future[TopicDescription] | None = None
        self._look_at = 0.0
        self._stop = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"read-{topic}")

    async def batch(self) -> list[Record]:
        """The next records, at least one; none once the reader is closed."""
        if self._stop.is_set():
            return []
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._next)

    async def close(self) -> None:
        """Returns when the thread has ended, which takes a moment."""
        if not self._stop.is_set():
            self._stop.set()
            await asyncio.get_running_loop().run_in_executor(self._thread, self._leave)
            self._thread.shutdown(wait=False)

    def _next(self) -> list[Record]:
        while not self._stop.is_set():
            self._follow()
            if self._consumer is None:
                self._stop.wait(_POLL / 10)
            elif batch := self._fetch(self._consumer):
                return batch
        return []

    def _follow(self) -> None:
        """Find the topic, and notice that it was made anew. Never waits: a broker that hangs must not hold up the records."""
        if self._looking is None:
            if time.monotonic() >= self._look_at:
                topics = TopicCollection([self._topic])
                self._looking = self._admin.describe_topics(topics, request_timeout=_ANSWER)[self._topic]
        elif self._looking.done():
            look, self._looking = self._looking, None
            # An error says that topic or broker are away just now: what is open stays open, for it may come back as it was.
            if look.exception() is None and str(look.result().topic_id) != self._incarnation:
                self._open(look.result())
            self._look_at = time.monotonic() + (_SEEK if self._consumer is None else _LOOK)

    def _open(self, topic: TopicDescription) -> None:
        self._leave()
        self._consumer = Consumer(self._config)
        with suppress(KafkaException):  # a consumer that knows the leaders begins half a second sooner
            self._consumer.list_topics(self._topic, timeout=_LEADERS)
        self._consumer.assign([TopicPartition(self._topic, p.id, OFFSET_BEGINNING) for p in topic.partitions])
        self._incarnation = str(topic.topic_id)

    def _leave(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _fetch(self, consumer: Consumer) -> list[Record]:
        first = consumer.poll(_POLL)
        if first is None:
            return []
        # The driver repeats and mends by itself what it reports as an error here.
        messages = [m for m in (first, *consumer.consume(_BATCH - 1, timeout=0)) if m.error() is None]
        return [record(m) for m in messages if m.timestamp()[1] >= self._since_ms]


def record(message: Message) -> Record:
    return Record(
        position=position(message),
        key=message.key(),
        value=message.value(),
        headers=tuple((name, _bytes(value)) for name, value in message.headers() or ()),
        timestamp=message.timestamp()[1] / 1000,
    )


def position(message: Message) -> Position:
    """Where a record lies that the broker has: the driver's types allow for one that it has not."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    return Position(topic or "", -1 if partition is None else partition, -1 if offset is None else offset)


def _bytes(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""

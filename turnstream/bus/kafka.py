"""The bus on a broker that speaks Kafka's protocol, Apache Kafka or the embedded one, by way of librdkafka."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any, Self, TypeVar, cast

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    NewPartitions,  # pyright: ignore[reportPrivateImportUsage]
    NewTopic,  # pyright: ignore[reportPrivateImportUsage]
    OffsetSpec,  # pyright: ignore[reportPrivateImportUsage]
    TopicDescription,  # pyright: ignore[reportPrivateImportUsage]
)

from schemas.errors import BrokerUnavailable, TurnstreamError
from schemas.events import Headers
from schemas.topics import Layout, TopicSpec
from turnstream.bus.base import Bus, Position, Reach, Reaches, Record, require_growth, verify_partitions
from turnstream.bus.driver import LOG, UNSETTLED, tolerating, translated
from turnstream.bus.kafka_reader import TopicReader, position
from turnstream.bus.kafka_snapshot import WHOLE, TopicSnapshot
from turnstream.settings import BrokerKind, Settings

Answer = TypeVar("Answer")
_LARGEST = max(spec.max_message_bytes for spec in Layout().topics())
_WARM_UP = 1.0  # seconds that the first look for the broker may hold up acknowledgements
_POLL = 0.2  # seconds between two looks at whether to stop
_SETTLE = 0.05  # seconds until a cluster that changes is asked again


class KafkaBus(Bus):
    """One producer, one administrative client, and a consumer for each reader.

    `timeout` bounds every call, in seconds. `idempotent`, for Apache Kafka, keeps the driver's own retries from doubling or
    reordering records; the embedded broker loses acknowledged records with it.
    """

    def __init__(self, bootstrap: str, *, timeout: float, idempotent: bool) -> None:
        self._timeout = timeout
        self._common: dict[str, Any] = {
            "bootstrap.servers": bootstrap,
            "allow.auto.create.topics": False,  # topics have a layout: nobody makes one by accident
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 500,
            "socket.connection.setup.timeout.ms": 5_000,
        }
        self._producing = self._common | {
            "acks": "all",
            "enable.idempotence": idempotent,
            "linger.ms": 0,
            # One request at a time: with more, a topic so new that its leader refuses the first request may take the second, and
            # the first, sent again, then counts as a duplicate: acknowledged and lost (seen on Apache Kafka 4.3).
            "max.in.flight.requests.per.connection": 1,
            "message.timeout.ms": int(timeout * 1000),
            "message.max.bytes": _LARGEST,
            "queue.buffering.max.messages": 10_000,
            "queue.buffering.max.kbytes": 64 << 10,
        }
        # Apache Kafka answers a fetch that waits as soon as a record comes. The embedded broker does at its end, so there it is
        # short; on Apache Kafka four readers of two processes would ask eighty times a second for nothing.
        self._reading = self._common | {"fetch.wait.max.ms": 500 if idempotent else 50}
        self._readers: set[TopicReader | TopicSnapshot] = set()
        self._closing = threading.Event()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        if not settings.kafka_bootstrap_servers:
            raise BrokerUnavailable(
                "no broker is named: set KAFKA_BOOTSTRAP_SERVERS, or start all with `turnstream up`"
            )
        return cls(
            settings.kafka_bootstrap_servers,
            timeout=settings.publish_timeout,
            idempotent=settings.broker is BrokerKind.KAFKA,
        )

    async def start(self) -> None:
        # Only the producer speaks in the log: it is always connected, and five voices would say the same.
        self._producer = Producer(self._producing, logger=LOG)
        self._admin = AdminClient(self._common | {"log_level": 0})
        self._poller = threading.Thread(target=self._poll, name="kafka-producer", daemon=True)
        self._poller.start()

    async def close(self) -> None:
        for reader in tuple(self._readers):
            await reader.close()
        self._closing.set()
        await asyncio.to_thread(self._poller.join)

    async def publish(
        self, topic: str, *, key: bytes | None, value: bytes | None, headers: Headers = (), partition: int | None = None
    ) -> Position:
        if self._closing.is_set():
            raise BrokerUnavailable("the bus is closed")
        acknowledged: asyncio.Future[Position] = asyncio.get_running_loop().create_future()
        try:
            self._producer.produce(
                topic,
                value,
                key,
                partition=-1 if partition is None else partition,
                headers=list(headers),
                on_delivery=partial(_delivered, acknowledged),
            )
        except BufferError as error:
            raise BrokerUnavailable("too many events wait for the broker") from error
        except KafkaException as error:
            raise translated(error.args[0], f"publishing to {topic}") from error
        return await acknowledged

    def read(self, topic: str, *, since: float | None = None) -> AsyncGenerator[Record, None]:
        return self._records(TopicReader(self._admin, self._reading, topic, since))

    async def snapshot(self, topic: str, reaches: Reaches | None = None) -> AsyncGenerator[Record, None]:
        async with self._asking(f"reading {topic}"):
            partitions = range(await self._partitions(topic))
        chosen = dict.fromkeys(partitions, WHOLE) if reaches is None else reaches
        async with aclosing(self._records(TopicSnapshot(self._reading, topic, chosen, self._timeout))) as records:
            async for record in records:
                yield record

    async def _records(self, reader: TopicReader | TopicSnapshot) -> AsyncGenerator[Record, None]:
        self._readers.add(reader)
        try:
            while batch := await reader.batch():
                for record in batch:
                    yield record
        finally:
            self._readers.discard(reader)
            await reader.close()

    async def ensure_topics(self, specs: Sequence[TopicSpec]) -> None:
        names = [spec.name for spec in specs]
        async with self._asking("laying out topics"):
            there = await self._describe(names)
            if missing := [spec for spec in specs if spec.name not in there]:
                await self._create(missing)
                # On a cluster a new topic takes a moment to be known everywhere.
                while len(there := await self._describe(names)) < len(names):  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(_SETTLE)
        verify_partitions(specs, {name: len(topic.partitions) for name, topic in there.items()})

    async def grow(self, topic: str, partitions: int) -> None:
        async with self._asking(f"letting {topic} grow"):
            if (there := await self._partitions(topic)) != partitions:
                require_growth(topic, there, partitions)
                asked = self._admin.create_partitions([NewPartitions(topic, partitions)], request_timeout=self._timeout)
                await asyncio.wrap_future(asked[topic])
                while await self._partitions(topic) != partitions:  # noqa: ASYNC110 - on a cluster it takes a moment
                    await asyncio.sleep(_SETTLE)
                # The producer would else refuse partitions that it has not heard of.
                await asyncio.to_thread(self._producer.list_topics, topic, self._timeout)

    async def topic_id(self, topic: str) -> str | None:
        async with self._asking(f"looking for {topic}"):
            found = await self._describe([topic])
        return str(found[topic].topic_id) if topic in found else None

    async def reach(self, topic: str, group: str) -> dict[int, Reach]:
        async with self._asking(f"asking how far {group} came in {topic}"):
            found = await self._describe([topic])
            if topic not in found:
                raise BrokerUnavailable(f"the broker has no topic {topic}")
            partitions = [TopicPartition(topic, p.id) for p in found[topic].partitions]
            low, offsets = await self._settled(partial(self._offsets, partitions, group))
        done = {offset.partition: offset.offset for offset in offsets if offset.offset >= 0 and offset.error is None}
        return {partition: Reach(low=at, committed=done.get(partition)) for partition, at in low.items()}

    async def offsets_at(self, topic: str, when: float) -> dict[int, int]:
        async with self._asking(f"looking for a time in {topic}"):
            partitions = [TopicPartition(topic, number) for number in range(await self._partitions(topic))]
            # The ends first: what is published in between is found by its time.
            ends = await self._settled(partial(self._list_offsets, partitions, cast(OffsetSpec, OffsetSpec.latest())))
            at = cast(OffsetSpec, OffsetSpec.for_timestamp(int(when * 1000)))
            found = await self._settled(partial(self._list_offsets, partitions, at))
        return {number: offset if offset >= 0 else ends[number] for number, offset in found.items()}

    async def begin_group(self, topic: str, group: str, offsets: Mapping[int, int]) -> None:
        async with self._asking(f"setting the offsets of {group}"):
            await asyncio.to_thread(self._begin_group, topic, group, offsets)

    def _begin_group(self, topic: str, group: str, offsets: Mapping[int, int]) -> None:
        with self._as_member(group) as consumer:
            known = consumer.committed([TopicPartition(topic, number) for number in offsets], timeout=self._timeout)
            new = [TopicPartition(topic, at.partition, offsets[at.partition]) for at in known if at.offset < 0]
            if new:
                consumer.commit(offsets=new, asynchronous=False)

    async def _offsets(
        self, partitions: list[TopicPartition], group: str
    ) -> tuple[dict[int, int], list[TopicPartition]]:
        low = await self._list_offsets(partitions, cast(OffsetSpec, OffsetSpec.earliest()))
        return low, await asyncio.to_thread(self._committed, partitions, group)

    async def _list_offsets(self, partitions: list[TopicPartition], which: OffsetSpec) -> dict[int, int]:
        asked = self._admin.list_offsets(dict.fromkeys(partitions, which), request_timeout=self._timeout)
        return {partition.partition: (await asyncio.wrap_future(future)).offset for partition, future in asked.items()}

    def _committed(self, partitions: list[TopicPartition], group: str) -> list[TopicPartition]:
        with self._as_member(group) as consumer:
            return consumer.committed(partitions, timeout=self._timeout)

    @contextmanager
    def _as_member(self, group: str) -> Generator[Consumer]:
        """What asks about a group without joining it. Blocks."""
        # With a client of its own: once the broker was restarted, librdkafka 2.16's administrative client does not find a
        # group's coordinator again; and such requests, timed out, are suspected of having aborted a process later.
        consumer = Consumer(self._common | {"group.id": group, "enable.auto.commit": False, "log_level": 0})
        try:
            yield consumer
        finally:
            consumer.close()

    async def _settled(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Ask again while the cluster sorts out who leads, as it does after a topic or a group is new and a broker is lost."""
        while True:
            with tolerating(*UNSETTLED):
                return await ask()
            await asyncio.sleep(_SETTLE)

    async def _describe(self, topics: Sequence[str]) -> dict[str, TopicDescription]:
        """Those of the topics that exist."""
        asked = self._admin.describe_topics(TopicCollection(list(topics)), request_timeout=self._timeout)
        found: dict[str, TopicDescription] = {}
        for name, future in asked.items():
            with tolerating(KafkaError.UNKNOWN_TOPIC_OR_PART):
                found[name] = await asyncio.wrap_future(future)
        return found

    async def _partitions(self, topic: str) -> int:
        found = await self._describe([topic])
        if topic not in found:
            raise BrokerUnavailable(f"the broker has no topic {topic}")
        return len(found[topic].partitions)

    async def _create(self, specs: Sequence[TopicSpec]) -> None:
        # -1: as many replicas as the broker's own default says.
        topics = [
            NewTopic(spec.name, spec.partitions, -1, config={"max.message.bytes": str(spec.max_message_bytes)})
            for spec in specs
        ]
        for future in self._admin.create_topics(topics, request_timeout=self._timeout).values():
            with tolerating(KafkaError.TOPIC_ALREADY_EXISTS):  # another process was quicker
                await asyncio.wrap_future(future)

    @asynccontextmanager
    async def _asking(self, doing: str) -> AsyncGenerator[None, None]:
        """One deadline and one table of errors for whatever an administrative call does."""
        try:
            async with asyncio.timeout(self._timeout):
                yield
        except KafkaException as error:
            raise translated(error.args[0], doing) from error
        except TimeoutError as error:
            raise BrokerUnavailable(f"{doing}: no answer within {self._timeout:g} s") from error

    def _poll(self) -> None:
        """The producer's thread: it alone completes what `publish` waits for."""
        with suppress(KafkaException):  # a broker that is away is found by the first publish
            self._producer.list_topics(timeout=min(_WARM_UP, self._timeout))
        while not self._closing.is_set():
            self._producer.poll(_POLL)
        if self._producer.flush(self._timeout):
            self._producer.purge()
            self._producer.flush(_POLL)


def _delivered(acknowledged: asyncio.Future[Position], error: KafkaError | None, message: Message) -> None:
    """In the producer's thread."""
    outcome = translated(error, f"publishing to {message.topic()}") if error else position(message)
    if isinstance(outcome, Position) and outcome.offset < 0:
        # What the driver takes for a repeat of its own. The broker may have it or not, so the caller had better try again.
        outcome = BrokerUnavailable(f"publishing to {message.topic()}: acknowledged without an offset")
    with suppress(RuntimeError):  # the loop is closed, and with it went the caller
        acknowledged.get_loop().call_soon_threadsafe(_complete, acknowledged, outcome)


def _complete(acknowledged: asyncio.Future[Position], outcome: Position | TurnstreamError) -> None:
    if acknowledged.done():  # the caller was cancelled
        return
    if isinstance(outcome, Position):
        acknowledged.set_result(outcome)
    else:
        acknowledged.set_exception(outcome)

"""The Faust application: brings records to the worker, acknowledges what it is done with. Only wires, decides nothing.

docs/decisions/0001-faust.md says why Faust, and which of its habits are not used.
"""

import asyncio
from collections.abc import AsyncIterable, Sequence
from typing import Any, cast

import faust
from faust.types import TP

from processor.outbox import Outbox
from processor.receipts import Ack
from processor.session import session as session_of
from processor.transport import Consumer, Transport
from processor.worker import Worker
from schemas.topics import Topic
from turnstream.bus.base import Position, Record
from turnstream.settings import BrokerKind, Settings

REBALANCE_WAIT = 3.0
"""Seconds a rebalance waits for open jobs. Short: the whole group stands still meanwhile."""
FETCH_MAX_WAIT = {BrokerKind.EMBEDDED: 50, BrokerKind.KAFKA: None}
"""Milliseconds a fetch may wait for records; None: as Faust has it."""
NEVER = 7 * 86400.0
"""For limits of Faust that would end or accuse a worker only because its jobs are long."""


class GpuApp(faust.App):
    """Both the worker's source of records and its way to hold a partition back (`processor.receipts.Flow`)."""

    def __init__(self, settings: Settings, outbox: Outbox, topics: Sequence[Topic]) -> None:
        session = session_of(settings)
        datadir = settings.data_dir.absolute() / "faust" / settings.worker_name
        datadir.mkdir(parents=True, exist_ok=True)
        super().__init__(
            settings.consumer_group,
            broker=[f"kafka://{server.strip()}" for server in settings.kafka_bootstrap_servers.split(",")],
            store="memory://",
            datadir=str(datadir),
            autodiscover=False,
            web_enabled=False,
            topic_allow_declare=False,  # topics are made and verified by us
            topic_disable_leader=True,
            table_standby_replicas=0,
            # A worker that is started again takes its place up, and the others do not stand still meanwhile. The embedded broker
            # knows no fixed places.
            consumer_group_instance_id=settings.instance if settings.broker is BrokerKind.KAFKA else None,
            broker_session_timeout=session.timeout,
            broker_heartbeat_interval=session.heartbeat,
            broker_rebalance_timeout=60.0,
            broker_max_poll_interval=NEVER,
            broker_max_poll_records=64,
            broker_commit_interval=1.0,
            broker_commit_livelock_soft_timeout=NEVER,
            stream_buffer_maxsize=1024,
            stream_processing_timeout=NEVER,
            stream_wait_empty=False,
        )
        transport = Transport(self.conf.broker_consumer, self)
        transport.fetch_max_wait_ms = FETCH_MAX_WAIT[settings.broker]
        transport.transactional = settings.transactional
        self.transport = transport
        all_ = self.topic(
            *map(str, topics),
            key_type=bytes,
            key_serializer="raw",
            value_type=bytes,
            value_serializer="raw",
        )
        self.agent(all_, name="intake")(self._intake)
        self.task(self._commit)
        self.on_partitions_assigned.connect(cast(Any, self._assigned), weak=False)
        self._worker: Worker | None = None
        self._outbox = outbox
        self._worker_loop = asyncio.get_running_loop()
        self._acknowledged = asyncio.Event()
        self._in_place = asyncio.Event()
        """The worker knows its partitions; clear while they move."""

    def attach(self, worker: Worker) -> None:
        """To be called before `start`: the worker needs this application first, to be made."""
        self._worker = worker

    @property
    def worker(self) -> Worker:
        assert self._worker is not None, "attach a worker before the start"  # noqa: S101
        return self._worker

    # Records in, acknowledgements out

    async def _intake(self, stream: Any) -> None:
        events: AsyncIterable[Any] = stream.noack().events()
        async for event in events:
            message = event.message
            await self._in_place.wait()  # what comes while the worker takes nothing would not come again
            if message.generation_id == self.consumer_generation_id:
                self.worker.receive(_record(message), self._ack(message))

    def _ack(self, message: Any) -> Ack:
        def ack() -> None:
            consumer = cast(Consumer, self.consumer)
            if consumer.finish(message):
                self._acknowledged.set()

        return ack

    async def _commit(self) -> None:
        """Commit soon after an acknowledgement, not only at Faust's interval: what is committed is not sent again."""
        while not self.should_stop:
            await self._acknowledged.wait()
            self._acknowledged.clear()
            await self.consumer.commit()

    # Back-pressure

    def pause(self, topic: str, partition: int) -> None:
        self.consumer.on_buffer_full(TP(topic, partition))

    def resume(self, topic: str, partition: int) -> None:
        self.consumer.on_buffer_drop(TP(topic, partition))

    def behind(self) -> frozenset[int]:
        consumer = cast(Consumer, self.consumer)
        return frozenset(tp.partition for tp, lag in consumer.lags().items() if tp.topic == Topic.JOBS and lag)

    def lag(self) -> int:
        return sum(cast(Consumer, self.consumer).lags().values())

    # Rebalances

    def on_rebalance_start(self) -> None:
        """Called in the consumer's thread, before anything else of a rebalance."""
        super().on_rebalance_start()
        self._worker_loop.call_soon_threadsafe(self._revoked)

    async def _consumer_wait_empty(self, consumer: Any, logger: Any) -> None:
        """Faust would wait here without a limit. When stopping, the worker has been drained before."""
        del logger
        if not self.should_stop:
            await self.worker.settle(REBALANCE_WAIT)
        await consumer.commit_and_end_transactions()
        consumer.unacked.clear()  # what is left comes again

    def _revoked(self) -> None:
        self._in_place.clear()
        self.worker.revoked()

    async def _assigned(self, app: Any, assigned: set[TP], **_: Any) -> None:
        del app
        cast(Consumer, self.consumer).begin()
        places = {(tp.topic, tp.partition) for tp in assigned}
        self._outbox.assigned(places)
        self.worker.assigned(places)
        self._in_place.set()

    def leave(self) -> None:
        """To be called before `stop` by a worker that nobody is about to start again."""
        cast(Transport, self.transport).leaving = True


def _record(message: Any) -> Record:
    return Record(
        position=Position(message.topic, message.partition, message.offset),
        key=message.key,
        value=message.value,
        headers=tuple(message.headers or ()),
        timestamp=message.timestamp or 0.0,
    )

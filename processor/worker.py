"""The worker: takes records in, and knows which of them are whose: a job's, a retry's, nobody's. Knows no Faust.

All state is touched on one event loop; what blocks runs in threads.
"""

import asyncio
import logging
from collections.abc import Collection
from contextlib import aclosing
from functools import partial

from processor.apart import Apart, DeliveryApart
from processor.backlog import Backlog
from processor.delivery import Delivery
from processor.engine_port import EnginePort
from processor.held import Held, queues, read
from processor.leases import Leases
from processor.metrics import Metrics
from processor.outbox import Outbox
from processor.receipts import Ack, Flow, Receipt, Receipts
from processor.retries import Retries
from processor.signals import cancels
from processor.status import Status, WorkerState
from processor.workbench import Workbench
from schemas.errors import ErrorInfo, EventInvalid, TurnstreamError
from schemas.jobs import JobKey
from schemas.topics import Layout, Topic
from turnstream import memory
from turnstream.bus.base import Bus, Record
from turnstream.operations import Operations
from turnstream.records import Records
from turnstream.settings import Settings

logger = logging.getLogger(__name__)

HAND_BACK_LIMIT = 2.0
"""Seconds a stopping worker takes to give back the jobs it cannot end."""


class Worker:
    def __init__(  # noqa: PLR0913 - what it stands on
        self,
        settings: Settings,
        records: Records,
        bus: Bus,
        layout: Layout,
        operations: Operations,
        engine: EnginePort,
        flow: Flow,
        outbox: Outbox,
        *,
        apart: Apart | None = None,
    ) -> None:
        self._bus = bus
        self._layout = layout
        self._operations = operations
        self._engine = engine
        self._flow = flow
        self._receipts = Receipts(flow, settings.queue_limit)
        self.metrics = Metrics()
        self._apart = apart
        delivery = Delivery if apart is None else partial(DeliveryApart, apart.group, self._later)
        self._delivery = delivery(records, bus, outbox, layout, operations, settings.broker, self.metrics)
        self._bench = Workbench(
            settings,
            records,
            bus,
            operations,
            engine,
            Backlog(flow, layout, operations),
            self._delivery,
            engine_replaced=self._tell,
        )
        self._tasks, self.progress = self._bench.tasks, self._bench.progress
        self._retries = Retries(self._due, longest=max(settings.retry_delays))
        self.status = Status(settings.data_dir, settings.worker_name)
        self._draining = False
        self.metrics.follow(
            lambda: queues(self._bench.held.values(), len(self._bench.scheduler.parked), len(self._retries))
        )
        engine.on_work = self.metrics.worked
        self.metrics.weigh(lambda: memory.resident(pid) if (pid := engine.pid) else 0)
        self.metrics.watch(self.progress.now)
        self.broken = self._tasks.failed
        """Set when the worker cannot go on: its process should end, and gets its jobs again when it is started anew."""

    @property
    def leases(self) -> Leases:
        return self._bench.leases

    @property
    def orphans(self) -> int:
        return self._bench.orphans

    @property
    def trouble(self) -> str | None:
        """Why the worker is not ready; None where it is."""
        return self.progress.now().stuck if self.status.ready else "not ready"

    # Life

    async def start(self) -> None:
        self._tell()
        await self._engine.start()
        self._tell()
        self._tasks.spawn_endless(self._bench.follow_engine())
        self._tasks.spawn_endless(self._bench.leases.renew_for_ever())
        self._tasks.spawn_endless(self._follow_cancels())
        self._tasks.spawn_endless(self._look_after_progress())

    async def drain(self, limit: float) -> None:
        """Take nothing more, give open jobs `limit` seconds to end, hand back what is left."""
        self._draining = True
        self.revoked()
        await self.settle(limit)
        try:
            async with asyncio.timeout(HAND_BACK_LIMIT):
                await self._bench.hand_back_open()
        except TimeoutError:
            logger.warning("not every open job was handed back in time: the try just made counts")

    async def close(self) -> None:
        self.revoked()
        await self._tasks.close()
        await self._engine.close()
        self.status.forget()

    # Partitions

    def assigned(self, partitions: Collection[object]) -> None:
        """Partitions are ours, from their committed offsets on: what is not acknowledged comes again.

        Jobs in the engine go on, and take the new copy of their event where it comes to us.
        """
        self._receipts.reset()
        for held in self._bench.held.values():
            held.receipts.clear()
        if partitions and not self._draining:
            self._bench.open_for_jobs()
            self._tell()
        else:
            self.revoked()

    def revoked(self) -> None:
        """Partitions are about to move: forget what has not started. It is not acknowledged, so it comes again."""
        self._bench.drop_waiting()
        self._retries.clear()
        self._tell()

    async def settle(self, limit: float) -> None:
        """Wait until nothing is on its way to its end, `limit` seconds at most."""
        try:
            async with asyncio.timeout(limit):
                await self._bench.until_idle()
        except TimeoutError:
            logger.info("%d jobs are still open after %.1f s", len(self._bench.held), limit)

    # Records

    def receive(self, record: Record, ack: Ack) -> None:
        """Take a record in. Never blocks, never raises; `ack` is called once the record is done with."""
        if not self._bench.taking:
            return
        receipt = self._receipts.take(record.position, ack)
        try:
            held = read(record, self._operations)
        except TurnstreamError as error:
            self._tasks.spawn(self._refuse(record, error.info, receipt))
            return
        except Exception as error:  # anybody may write to the topic: no record may stop the stream
            self._tasks.spawn(self._refuse(record, EventInvalid(repr(error)).info, receipt))
            return
        if self._apart is not None and not self._apart.takes(held):
            self._tasks.spawn(self._leave(receipt))
        elif record.position.topic == Topic.JOBS_RETRY:
            self._retries.hold(held, receipt)
            self._tasks.spawn(self._hasten_if_ended(held))
        else:
            self._bench.take(held, receipt)

    async def _leave(self, receipt: Receipt) -> None:
        await self._delivery.leave(receipt)
        self.progress.settled()

    async def _refuse(self, record: Record, error: ErrorInfo, receipt: Receipt) -> None:
        await self._delivery.refuse(record, error, receipt)
        self.progress.settled()

    def _later(self, held: Held, receipt: Receipt) -> None:
        # Once the try that failed has left the bench: the next one may be due at once.
        asyncio.get_running_loop().call_soon(self._retries.hold, held, receipt)

    def _due(self, held: Held, receipt: Receipt) -> None:
        if self._apart is not None:  # its record is the one it came with
            self._bench.take(held, receipt)
            return
        held.receipts.append(receipt)
        self._tasks.spawn(self._forward(held, receipt))

    async def _hasten_if_ended(self, held: Held) -> None:
        """A cancel may have come before its record did."""
        if await self._delivery.ended(held):
            self._retries.hasten(held.id)

    async def _forward(self, held: Held, receipt: Receipt) -> None:
        if not await self._delivery.settled(held):
            partition = self._layout.partition(held.job.id, held.job.operation, held.job.lane)
            await self._delivery.forward(held.record, receipt, partition)
        self.progress.settled()

    # Cancels

    async def _follow_cancels(self) -> None:
        async with aclosing(cancels(self._bus)) as ids:
            async for id in ids:
                await self.cancel(id)

    async def cancel(self, id: JobKey) -> None:
        """Stop a run and tell its end. One that is not here is looked up when it is opened."""
        self._retries.hasten(id)
        await self._bench.cancel(id)

    # Housekeeping

    async def _look_after_progress(self) -> None:
        while True:
            held, waiting = self._bench.held.values(), self._bench.scheduler.waiting
            self.progress.look(held, waiting, self._flow.lag(), resting=len(self._retries))
            await asyncio.sleep(self.progress.pause)

    def _tell(self) -> None:
        state = WorkerState.READY if self._bench.taking else WorkerState.STARTING
        self.status.say(WorkerState.DRAINING if self._draining else state, self._engine.pid)

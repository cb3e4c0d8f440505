"""The worker: takes records in, opens jobs in the engine stage by stage, brings each run to its end. Knows no Faust.

All state is touched on one event loop; what blocks runs in threads. A job is in `_held` from its receipt to its end, and
every wait on store, broker or engine is a task of that job alone: others go on.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import aclosing
from typing import Any

from processor import stages
from processor.admission import Admission
from processor.backlog import Backlog
from processor.delivery import Delivery, Outcome, ending_state
from processor.engine_port import EnginePort
from processor.engines.base import EngineLost, Failed, Finished, ModelsChanged, Progressed
from processor.held import Held, Stage, queues, read
from processor.metrics import Metrics
from processor.outbox import Outbox
from processor.progress import Progress
from processor.receipts import Ack, Flow, Receipt, Receipts
from processor.scheduler import Scheduler
from processor.signals import cancels, progress_due, tell_progress
from processor.standing import Standing, count, keep_stage, lend, look
from processor.status import Status, WorkerState
from processor.tasks import Tasks
from schemas.errors import AttemptsExhausted, EngineCrashed, ErrorInfo, EventInvalid, TurnstreamError
from schemas.jobs import JobKey
from schemas.operations import DIARIZE
from schemas.topics import Layout
from turnstream.bus.base import Bus, Record
from turnstream.operations import Operations
from turnstream.records import CANCELLED, Records
from turnstream.settings import Settings

logger = logging.getLogger(__name__)

HAND_BACK_LIMIT = 2.0
"""Seconds a stopping worker takes to give back the jobs it cannot end."""


class Worker:
    def __init__(
        self,
        settings: Settings,
        records: Records,
        bus: Bus,
        layout: Layout,
        operations: Operations,
        engine: EnginePort,
        flow: Flow,
        outbox: Outbox,
    ) -> None:
        self._settings = settings
        self._records = records
        self._bus = bus
        self._operations = operations
        self._engine = engine
        self._flow = flow
        self._receipts = Receipts(flow, settings.queue_limit)
        self._scheduler = Scheduler(
            settings.diarization_max_batch_size,
            max_wait=settings.max_wait,
            max_run=settings.max_run,
            linger=settings.linger,
        )
        self._tasks = Tasks()
        self._admission = Admission(
            self._scheduler,
            engine,
            backlog=Backlog(flow, layout, operations),
            opened=self._place,
            swapped=self._swapped,
            spawn=self._tasks.spawn,
        )
        self._delivery = Delivery(records, bus, outbox, layout, operations, settings.broker)
        self.status = Status(settings.data_dir, settings.worker_name)
        self._held: dict[JobKey, Held] = {}
        self._draining = False
        self._released = asyncio.Event()
        self.metrics = Metrics()
        self.metrics.follow(lambda: queues(self._held.values(), len(self._scheduler.parked)))
        self.progress = Progress(settings.stall_limit)
        self.metrics.watch(self.progress.now)
        self.broken = self._tasks.failed
        """Set when the worker cannot go on: its process should end, and gets its jobs again when it is started anew."""
        self.orphans = 0
        """Job events without a job, acknowledged and left: somebody erased the job."""

    # Life

    async def start(self) -> None:
        self._tell()
        await self._engine.start()
        self._tell()
        self._tasks.spawn_endless(self._follow_engine())
        self._tasks.spawn_endless(self._follow_cancels())
        self._tasks.spawn_endless(self._look_after_progress())

    async def drain(self, limit: float) -> None:
        """Take nothing more, give open jobs `limit` seconds to end, hand back what is left."""
        self._draining = True
        self.revoked()
        await self.settle(limit)
        await self._within_limit([self._recall(held) for held in self._at(Stage.OPEN)])

    async def close(self) -> None:
        self._admission.pause()
        await self._tasks.close()
        await self._engine.close()
        self.status.forget()

    # Partitions

    def assigned(self, partitions: Iterable[int]) -> None:
        """Partitions are ours, from their committed offsets on: what is not acknowledged comes again.

        Jobs in the engine go on if their partition is still ours, and take the new copy of their event when it comes.
        """
        ours = set(partitions)
        self._receipts.reset()
        for held in self._held.values():
            held.receipts.clear()
        for held in self._at(Stage.OPEN):
            moved = held.record.position.partition not in ours
            self._tasks.spawn(self._recall(held) if moved else self._take_back(held))
        self._admission.open_for_jobs = bool(ours) and not self._draining
        self._tell()
        self._admission.admit()

    def revoked(self) -> None:
        """Partitions are about to move: forget what has not started. It is not acknowledged, so it comes again."""
        self._admission.open_for_jobs = False
        self._admission.pause()
        self._scheduler.drop_all()
        for held in self._at(Stage.WAITING):
            del self._held[held.id]
        self._tell()

    async def settle(self, limit: float) -> None:
        """Wait until nothing is on its way to its end, `limit` seconds at most; parked jobs are not."""

        def busy() -> bool:
            parked = self._scheduler.parked
            return any(held.stage is not Stage.WAITING and id not in parked for id, held in self._held.items())

        try:
            async with asyncio.timeout(limit):
                while busy():
                    self._released.clear()
                    await self._released.wait()
        except TimeoutError:
            logger.info("%d jobs are still open after %.1f s", len(self._held), limit)

    async def lend(self) -> None:
        """Before partitions move: give back the tries of what is still open, as whoever gets it next may look at once and
        would take it for the ruin of its last worker. What stays ours counts again.
        """
        await self._within_limit([lend(self._records, held) for held in self._at(Stage.OPEN)])

    @staticmethod
    async def _within_limit(work: Sequence[Coroutine[Any, Any, None]]) -> None:
        try:
            async with asyncio.timeout(HAND_BACK_LIMIT):
                await asyncio.gather(*work)
        except TimeoutError:
            logger.warning("not every open job was handed back in time: the try just made counts")

    # Records

    def receive(self, record: Record, ack: Ack) -> None:
        """Take a record in. Never blocks, never raises; `ack` is called once the record is done with."""
        if not self._taking:
            return
        receipt = self._receipts.take(record.position, ack)
        try:
            held = read(record, self._operations)
        except TurnstreamError as error:
            self._tasks.spawn(self._set_aside(record, error.info, receipt))
            return
        except Exception as error:  # anybody may write to the topic: no record may stop the stream
            self._tasks.spawn(self._set_aside(record, EventInvalid(repr(error)).info, receipt))
            return
        known = self._held.get(held.id)
        if known is not None:
            # A copy, or the same record after a rebalance: it is done with when the run is.
            known.receipts.append(receipt)
            known.record = record
            return
        held.receipts.append(receipt)
        self._held[held.id] = held
        self._wait(held)

    async def _set_aside(self, record: Record, error: ErrorInfo, receipt: Receipt) -> None:
        await self._delivery.refuse(record, error, receipt)
        self.progress.settled()

    # Opening

    @property
    def _taking(self) -> bool:
        return self._admission.open_for_jobs

    def _wait(self, held: Held) -> None:
        """Have the present stage wait for its turn."""
        held.stage = Stage.WAITING
        if self._settings.enable_diarization or DIARIZE.name not in held.operation.models:  # else it stays queued
            self._scheduler.add(held.ticket)
            self._admission.admit()

    def _place(self, id: JobKey) -> None:
        held = self._held[id]
        held.stage = Stage.OPENING
        self._tasks.spawn(self._open(held))

    def _swapped(self, model: str) -> None:
        self.metrics.swapped()
        logger.info(
            "turning to %s; %d jobs wait, %d are parked", model, self._scheduler.waiting, len(self._scheduler.parked)
        )

    async def _open(self, held: Held) -> None:
        if await self._delivery.settled(held):
            self._release(held)
            return
        stage = held.model
        standing = await look(self._records, held)
        if standing is Standing.ERASED:
            self.orphans += 1
            logger.warning("there is no job %s: its event is acknowledged and left (%d so far)", held.id, self.orphans)
            await self._deliver(held, None)
        elif standing is Standing.ENDED:
            await self._deliver(held, None)
        elif held.complete:  # the worker before us got as far as that
            await self._finish(held)
        elif held.model != stage:
            await self._next_stage(held)
        elif standing >= self._settings.max_attempts:
            held.attempts = standing
            await self._deliver(held, AttemptsExhausted(f"It was tried {standing} times").info)
        elif standing > 0 and not held.alone:
            self._wait_alone(held)  # a worker died with it: it may be the cause
        else:
            await count(self._records, held, standing + 1)
            await self._enter(held)

    async def _enter(self, held: Held) -> None:
        if held.cancelled:
            await self._deliver(held, CANCELLED)
        elif not (self._taking and held.receipts):  # its partition moved meanwhile: it comes again, here or elsewhere
            await self._hand_back(held)
        else:
            held.stage = Stage.OPEN
            held.opened_at = time.time()
            if not held.found and held.attempts == 1:
                self.metrics.opened(held.operation.name, held.job.lane, held.opened_at - held.ready_at)
            try:
                await self._engine.open(held.task(self._operations))
            except Exception as error:
                logger.exception("the engine did not take %s", held.id)
                self._lost(EngineLost((held.id,), EngineCrashed(f"The engine did not take the job: {error}").info))

    def _wait_alone(self, held: Held) -> None:
        held.alone = True
        self._wait_again(held)

    def _wait_again(self, held: Held) -> None:
        self._scheduler.close(held.id)
        if self._taking and held.receipts:
            self._wait(held)
        else:
            self._release(held)  # it comes again, here or elsewhere, and the stages that are done are kept

    async def _recall(self, held: Held) -> None:
        """Hand back a job that is in the engine, unless its outcome has come meanwhile."""
        if held.stage is Stage.OPEN:
            held.stage = Stage.OPENING
            await self._engine.cancel(held.id)
            await self._hand_back(held)

    async def _hand_back(self, held: Held) -> None:
        """Give up a job in good order: not acknowledged, so it comes again, maybe has already; this try does not count."""
        if not held.lent:
            await count(self._records, held, held.attempts - 1)
        logger.info("%s was handed back", held.id)
        self._wait_again(held)

    async def _take_back(self, held: Held) -> None:
        """A try that was given back for a rebalance counts again."""
        if held.lent:
            await count(self._records, held, held.attempts)

    # Outcomes

    async def _follow_engine(self) -> None:
        async for outcome in self._engine.outcomes():
            if isinstance(outcome, EngineLost):
                self._lost(outcome)
                continue
            if isinstance(outcome, ModelsChanged):
                self._models_changed(outcome)
                continue
            self.progress.moved()
            held = self._held.get(outcome.id)
            if held is None or held.stage is not Stage.OPEN:
                if isinstance(outcome, Progressed):  # its cancel came before it was open
                    self._tasks.spawn(self._engine.cancel(outcome.id))
            elif isinstance(outcome, Progressed):
                if progress_due(held):
                    self._tasks.spawn(tell_progress(self._bus, held, stages.progress(held, outcome.progress)))
            elif isinstance(outcome, Failed):
                held.stage = Stage.DELIVERING  # at once: a cancel or a rebalance may come before its task does
                self._tasks.spawn(self._deliver(held, outcome.error))
            else:
                held.stage = Stage.OPENING
                self._tasks.spawn(self._stage_done(held, outcome))

    def _models_changed(self, changed: ModelsChanged) -> None:
        for load in changed.loads:
            self.metrics.loaded(load.model, load.seconds, load.bytes)
        for unload in changed.unloads:
            self.metrics.unloaded(unload.model, unload.reason)
        self._admission.models_changed(changed)

    def _lost(self, lost: EngineLost) -> None:
        logger.warning("the engine was lost with %d open jobs: %s", len(lost.ids), lost.error.detail)
        suspects = [held for held in self._at(Stage.OPEN) if held.id in lost.ids]
        for held in suspects:
            self._scheduler.close(held.id)
        self._scheduler.lost()
        self.metrics.engine_lost()
        for held in suspects:
            self._tasks.spawn(self._take_back(held))  # this try does count
            if held.attempts >= self._settings.max_attempts:
                held.stage = Stage.DELIVERING
                self._tasks.spawn(self._deliver(held, lost.error))
            else:
                self._wait_alone(held)
        self._tell()

    async def _stage_done(self, held: Held, finished: Finished) -> None:
        done = held.model
        held.found[done] = stages.fields(held, finished)
        if held.complete:
            await self._finish(held)
            return
        await keep_stage(self._records, held, done)
        await self._next_stage(held)

    async def _next_stage(self, held: Held) -> None:
        if held.cancelled:
            await self._deliver(held, CANCELLED)
        else:
            held.ready_at, held.alone = time.time(), False
            self._wait_again(held)

    async def _finish(self, held: Held) -> None:
        await self._deliver(held, await asyncio.to_thread(stages.result, held))

    async def _deliver(self, held: Held, outcome: Outcome | None) -> None:
        held.stage = Stage.DELIVERING
        self._scheduler.close(held.id)
        self._admission.admit()
        await self._delivery.end(held, outcome)
        self.progress.settled()
        if outcome is not None:
            self.metrics.ended(held.operation.name, ending_state(outcome))
        self._release(held)

    def _release(self, held: Held) -> None:
        self._scheduler.close(held.id)
        self._held.pop(held.id, None)
        self._released.set()
        self._admission.admit()

    # Cancelling

    async def _follow_cancels(self) -> None:
        async with aclosing(cancels(self._bus)) as ids:
            async for id in ids:
                await self.cancel(id)

    async def cancel(self, id: JobKey) -> None:
        """Stop a run and tell its end. One that is not here is looked up when it is opened."""
        held = self._held.get(id)
        if held is None or held.stage is Stage.DELIVERING:
            return
        if held.stage is Stage.OPENING:
            held.cancelled = True
            return
        was_open, held.stage = held.stage is Stage.OPEN, Stage.DELIVERING
        self._scheduler.remove(id)
        if was_open:
            await self._engine.cancel(id)
        self._tasks.spawn(self._deliver(held, CANCELLED))

    # Housekeeping

    def _at(self, stage: Stage) -> list[Held]:
        return [held for held in self._held.values() if held.stage is stage]

    @property
    def trouble(self) -> str | None:
        """Why the worker is not ready; None where it is."""
        return self.progress.now().stuck if self.status.ready else "not ready"

    async def _look_after_progress(self) -> None:
        while True:
            self.progress.look(self._held.values(), self._scheduler.waiting, self._flow.lag() if self._taking else 0)
            await asyncio.sleep(self.progress.pause)

    def _tell(self) -> None:
        state = WorkerState.READY if self._taking else WorkerState.STARTING
        self.status.say(WorkerState.DRAINING if self._draining else state, self._engine.pid)

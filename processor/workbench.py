"""What becomes of the jobs in the worker's hands: opened in the engine stage by stage, each run brought to its end.

A job is on the bench from its receipt to its end, and every wait on store, broker or engine is a task of that job alone: others
go on. Each method that is not a coroutine leaves the job at a stage that says who has to do the next step.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Container

from processor import stages
from processor.admission import Admission
from processor.delivery import Delivery, Outcome
from processor.engine_port import EnginePort
from processor.engines.base import EngineLost, Failed, Finished, ModelsChanged, Progressed
from processor.held import Held, Stage
from processor.leases import Leases
from processor.progress import Progress
from processor.receipts import Receipt
from processor.scheduler import Scheduler
from processor.session import session
from processor.signals import progress_due, tell_progress
from processor.standing import Elsewhere, Over, Tried, keep_stage, look
from processor.tasks import Tasks
from schemas import failures
from schemas.errors import AttemptsExhausted, EngineCrashed, ErrorInfo
from schemas.jobs import JobKey, JobState
from schemas.operations import DIARIZE
from turnstream import points
from turnstream.bus.base import Bus
from turnstream.operations import Operations
from turnstream.records import CANCELLED, Attempts, Records
from turnstream.settings import Settings

logger = logging.getLogger(__name__)

LOOK_AGAIN = 2.0
"""Seconds between two looks at a run that another worker has open."""


class Workbench:
    def __init__(
        self,
        settings: Settings,
        records: Records,
        bus: Bus,
        operations: Operations,
        engine: EnginePort,
        backlog: Container[str],
        delivery: Delivery,
        *,
        engine_replaced: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._records = records
        self._bus = bus
        self._operations = operations
        self._engine = engine
        self._delivery = delivery
        self._metrics = delivery.metrics
        self.progress = Progress(settings.stall_limit)
        self.tasks = Tasks()
        self._engine_replaced = engine_replaced
        self._resident: tuple[str, ...] = ()
        self.scheduler = Scheduler(
            settings.diarization_max_batch_size,
            max_wait=settings.max_wait,
            max_run=settings.max_run,
            linger=settings.linger,
        )
        self._admission = Admission(
            self.scheduler, engine, backlog=backlog, opened=self._place, swapped=self._swapped, spawn=self.tasks.spawn
        )
        self.leases = Leases(records, settings.instance, session(settings).timeout, self._lease_lost)
        self.held: dict[JobKey, Held] = {}
        self._released = asyncio.Event()
        self.orphans = 0
        """Job events without a job, acknowledged and left: somebody erased the job."""

    # What is here

    def at(self, stage: Stage) -> list[Held]:
        return [held for held in self.held.values() if held.stage is stage]

    def take(self, held: Held, receipt: Receipt) -> None:
        """Take a job in, or the copy of one that is here: it is done with when the run is."""
        known = self.held.setdefault(held.id, held)
        known.receipts.append(receipt)
        if known is held:
            self._wait(held)
        else:
            known.record, known.retries = held.record, max(held.retries, known.retries)

    @property
    def taking(self) -> bool:
        return self._admission.open_for_jobs

    def open_for_jobs(self) -> None:
        self._admission.open_for_jobs = True
        self._admission.admit()

    def drop_waiting(self) -> None:
        """Open nothing more, and forget what has not started: it is not acknowledged, so it comes again, here or elsewhere.

        What is open goes on: its end is its run's, whoever has the record then.
        """
        self._admission.open_for_jobs = False
        self._admission.pause()
        self.scheduler.drop_all()
        for held in (*self.at(Stage.WAITING), *self.at(Stage.ELSEWHERE)):
            self._forget(held)

    async def until_idle(self) -> None:
        """Until nothing is on its way to its end; parked jobs are not."""
        while self._busy():
            self._released.clear()
            await self._released.wait()

    def _busy(self) -> bool:
        parked, idle = self.scheduler.parked, {Stage.WAITING, Stage.ELSEWHERE}
        return any(held.stage not in idle and id not in parked for id, held in self.held.items())

    # Opening

    def _wait(self, held: Held) -> None:
        """Have the present stage wait for its turn."""
        held.stage = Stage.WAITING
        if self._settings.enable_diarization or DIARIZE.name not in held.operation.models:  # else it stays queued
            self.scheduler.add(held.ticket)
            self._admission.admit()

    def _place(self, id: JobKey) -> None:
        held = self.held[id]
        held.stage = Stage.OPENING
        self.tasks.spawn(self._open(held))

    def _swapped(self, model: str) -> None:
        self._metrics.swapped()
        waiting, parked = self.scheduler.waiting, len(self.scheduler.parked)
        logger.info("turning to %s; %d jobs wait, %d are parked", model, waiting, parked)

    async def _open(self, held: Held) -> None:
        if await self._delivery.settled(held):
            self.progress.settled()
            self._release(held)
            return
        if not await self._delivery.begin(held):
            await self._deliver(held, None)
            return
        stage = held.model
        standing = await look(self._records, held, self._settings.instance)
        points.passing("opening.looked")
        if isinstance(standing, Over):
            await self._over(held, standing)
        elif isinstance(standing, Elsewhere):
            await self._wait_elsewhere(held, standing)
        elif held.complete:  # the worker before us got as far as that
            await self._finish(held)
        elif held.model != stage:
            await self._next_stage(held)
        elif standing.times >= self._settings.max_attempts:
            held.attempts = standing.times
            await self._deliver(held, AttemptsExhausted(f"It was tried {standing.times} times").info)
        elif standing.times > 0 and not held.alone:
            held.alone = True  # a worker died with it: it may be the cause
            self._wait_again(held)
        elif not self._ours(held):
            self._wait_again(held)
        else:
            await self._enter(held, standing)

    async def _enter(self, held: Held, standing: Tried) -> None:
        held.attempts = standing.times + 1
        await self.leases.take(held.id, Attempts(count=held.attempts, stage=held.model, retries=held.retries))
        points.passing("opening.counted")
        if held.cancelled:
            await self._deliver(held, CANCELLED)
            return
        if not self._ours(held):  # its partition moved meanwhile: whoever has it now may have looked before we counted
            await self._hand_back(held)
            return
        held.stage = Stage.OPEN
        held.opened_at = time.time()
        self._metrics.entered(held.model, warm=held.model in self._resident)
        if not held.found and held.attempts == 1 and not held.retries:
            self._metrics.opened(held.operation.name, held.job.lane, held.opened_at - held.ready_at)
        try:
            await self._engine.open(held.task(self._operations))
        except Exception as error:
            logger.exception("the engine did not take %s", held.id)
            self._lost(EngineLost((held.id,), EngineCrashed(f"The engine did not take the job: {error}").info))
        points.passing("opening.opened")

    def _ours(self, held: Held) -> bool:
        return self.taking and bool(held.receipts)

    async def _over(self, held: Held, why: Over) -> None:
        if why is Over.ERASED:
            self.orphans += 1
            logger.warning("there is no job %s: its event is acknowledged and left (%d so far)", held.id, self.orphans)
        await self._deliver(held, None)

    async def _wait_elsewhere(self, held: Held, standing: Elsewhere) -> None:
        """Leave a run to the worker that has it open, without a place in the engine, until it ends or that worker is dead."""
        held.stage = Stage.ELSEWHERE
        self._leave_engine(held)
        while not held.cancelled:
            await asyncio.sleep(min(standing.seconds, LOOK_AGAIN))
            found = await look(self._records, held, self._settings.instance)
            if held.stage is not Stage.ELSEWHERE or self.held.get(held.id) is not held:
                return  # cancelled, or its partition moved
            if isinstance(found, Over):
                await self._over(held, found)
                return
            if isinstance(found, Tried):
                self._wait(held)
                return
            standing = found
        await self._deliver(held, CANCELLED)

    def _wait_again(self, held: Held) -> None:
        self.scheduler.close(held.id)
        if held.cancelled:
            held.stage = Stage.DELIVERING
            self.tasks.spawn(self._deliver(held, CANCELLED))
        elif self._ours(held):
            self._wait(held)
        else:
            self._release(held)  # it comes again, here or elsewhere, and the stages that are done are kept

    # Handing back

    async def hand_back_open(self) -> None:
        """Give up all that is in the engine, in good order: not acknowledged, so it comes again, and this try does not count."""
        open_ = self.at(Stage.OPEN)
        for held in open_:
            held.stage = Stage.OPENING
        await asyncio.gather(*map(self._recall, open_))

    async def _recall(self, held: Held) -> None:
        await self._engine.cancel(held.id)
        await self._hand_back(held)

    async def _hand_back(self, held: Held) -> None:
        await self.leases.give_back(held.id, tries=1)
        logger.info("%s was handed back", held.id)
        self._wait_again(held)

    def _lease_lost(self, id: JobKey) -> None:
        """Another worker has opened it, as we were taken for dead: it goes on there."""
        held = self.held.get(id)
        if held is not None and held.stage is Stage.OPEN:
            held.stage = Stage.OPENING
            self.tasks.spawn(self._yield(held))

    async def _yield(self, held: Held) -> None:
        await self._engine.cancel(held.id)
        self._wait_again(held)

    # Outcomes

    async def follow_engine(self) -> None:
        async for outcome in self._engine.outcomes():
            if isinstance(outcome, EngineLost):
                self._lost(outcome)
                continue
            if isinstance(outcome, ModelsChanged):
                self._models_changed(outcome)
                continue
            self.progress.moved()
            held = self.held.get(outcome.id)
            if held is None or held.stage is not Stage.OPEN:
                if isinstance(outcome, Progressed):  # its cancel came before it was open
                    self.tasks.spawn(self._engine.cancel(outcome.id))
            elif isinstance(outcome, Progressed):
                if progress_due(held):
                    self.tasks.spawn(tell_progress(self._bus, held, stages.progress(held, outcome.progress)))
            elif isinstance(outcome, Failed):
                held.stage = Stage.DELIVERING  # at once: a cancel or a rebalance may come before its task does
                self.tasks.spawn(self._deliver(held, outcome.error))
            else:
                held.stage = Stage.OPENING
                self.tasks.spawn(self._stage_done(held, outcome))

    def _models_changed(self, changed: ModelsChanged) -> None:
        self._resident = changed.resident
        for load in changed.loads:
            self._metrics.loaded(load.model, load.seconds, load.bytes)
        for unload in changed.unloads:
            self._metrics.unloaded(unload.model, unload.reason)
        self._admission.models_changed(changed)

    def _lost(self, lost: EngineLost) -> None:
        logger.warning("the engine was lost with %d open jobs: %s", len(lost.ids), lost.error.detail)
        suspects = [held for held in self.at(Stage.OPEN) if held.id in lost.ids]
        for held in suspects:
            self.scheduler.close(held.id)
        self.scheduler.lost()
        self._metrics.engine_lost(lost.error.code)
        for held in suspects:
            if held.attempts >= self._settings.max_attempts:
                held.stage = Stage.DELIVERING
                self.tasks.spawn(self._deliver(held, lost.error))
            else:
                held.alone = True
                self._wait_again(held)
        self._engine_replaced()

    async def _stage_done(self, held: Held, finished: Finished) -> None:
        done = held.model
        found = held.found[done] = stages.fields(held, finished)
        seconds = (held.job.audio.duration if held.job.audio else None) or 0.0
        self._metrics.computed(done, found["timings"], seconds)
        if held.complete:
            await self._finish(held)
            return
        await keep_stage(self._records, held, done)
        await self._next_stage(held)

    async def _next_stage(self, held: Held) -> None:
        await self.leases.give_back(held.id)
        held.ready_at, held.alone = time.time(), False
        self._wait_again(held)

    async def _finish(self, held: Held) -> None:
        await self._deliver(held, await asyncio.to_thread(stages.result, held))

    # Ends

    async def _deliver(self, held: Held, outcome: Outcome | None) -> None:
        """Bring a run to its end, or, where its failure may pass, to `gpu-jobs.retry`."""
        held.stage = Stage.DELIVERING
        self._leave_engine(held)
        await self.leases.let_go(held.id)
        told = tuple(held.receipts)
        if not (isinstance(outcome, ErrorInfo) and await self._retried(held, outcome)):
            state = await self._delivery.end(held, outcome)
            if state is not None:
                self._metrics.ended(held.operation.name, state)
            if state is JobState.FAILED and isinstance(outcome, ErrorInfo):
                self._metrics.failed(held.operation.name, outcome.code)
        self.progress.settled()
        # A copy that came meanwhile finds out for itself what is left to do; what is not ours any more is dropped.
        held.receipts = [receipt for receipt in held.receipts if receipt not in told]
        held.cancelled = False
        self._wait_again(held)

    async def _retried(self, held: Held, error: ErrorInfo) -> bool:
        """Whether a failed run is tried again later; if so, its record is on its way there."""
        tier = failures.of(error).tier(held.retries)
        if tier is None or held.cancelled:
            return False
        await self.leases.give_back(held.id)
        if held.receipts:  # else whoever has the record now tries at once
            due = time.time() + self._settings.retry_delays[tier]
            if await self._delivery.retry(held, error, tier, held.retries + 1, due):
                self._metrics.put_off(held.operation.name, error.code)
        return True

    def _leave_engine(self, held: Held) -> None:
        self.scheduler.close(held.id)
        self._admission.admit()

    def _release(self, held: Held) -> None:
        self._forget(held)
        self._leave_engine(held)

    def _forget(self, held: Held) -> None:
        if self.held.get(held.id) is held:
            del self.held[held.id]
            self.leases.abandon(held.id)
            self._released.set()

    # Cancelling

    async def cancel(self, id: JobKey) -> None:
        """Stop a run and tell its end. One that is not here is looked up when it is opened."""
        held = self.held.get(id)
        if held is None or held.stage is Stage.DELIVERING:
            return
        if held.stage is Stage.OPENING:
            held.cancelled = True
            return
        was_open, held.stage = held.stage is Stage.OPEN, Stage.DELIVERING
        self.scheduler.remove(id)
        if was_open:
            await self._engine.cancel(id)
        self.tasks.spawn(self._deliver(held, CANCELLED))

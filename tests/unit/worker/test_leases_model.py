"""Two workers, one store, and whatever may happen: nobody computes what a worker that is heard of has open, and every run gets
one end, told and acknowledged.
"""

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from processor import leases, persistence, workbench
from schemas.errors import AudioUnreadable, EngineCrashed
from schemas.jobs import JobKey
from tests.support.duo import SILENCE, Duo
from tests.support.lone_worker import LoneWorker

BOTH = st.sampled_from([0, 1])


class TwoWorkers(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.folder = tempfile.TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.runs: list[JobKey] = []
        self.silent: set[JobKey] = set()
        """Runs of which a worker was not heard of while it had them open: another may have opened them since."""
        self.patch.setattr(workbench, "LOOK_AGAIN", 0.002)
        self.patch.setattr(persistence, "FIRST_DELAY", 0.001)
        self.duo = self.run(self.begin())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    async def begin(self) -> Duo:
        duo = Duo(Path(self.folder.name), diarization_max_batch_size=2, max_attempts=3)
        self.patch.setattr(leases, "now", duo.clock)
        return await duo.start()

    async def after(self, work: Coroutine[Any, Any, Any] | None = None) -> None:
        if work is not None:
            await work
        await self.duo.quiet()

    def worker(self, number: int) -> LoneWorker:
        return self.duo.workers[number]

    # What happens

    @rule()
    def submit(self) -> None:
        async def submit() -> None:
            self.runs.append(self.duo.submit())

        self.run(self.after(submit()))

    @rule(to=BOTH, told=st.booleans())
    def partition_moves(self, to: int, told: bool) -> None:
        async def move() -> None:
            self.duo.give(self.worker(to), told=told)

        self.run(self.after(move()))

    @rule(number=BOTH, good=st.booleans(), last=st.booleans())
    def job_ends(self, number: int, good: bool, last: bool) -> None:
        engine = self.worker(number).engine
        if engine.open_ids:
            id = engine.open_ids[-1 if last else 0]
            engine.finish(id) if good else engine.fail(id, AudioUnreadable("no").info)
        self.run(self.after())

    @rule(seconds=st.integers(1, 12))
    def time_passes(self, seconds: int) -> None:
        self.run(self.after(self.duo.pass_time(seconds, *self.duo.workers)))
        self.silent.clear()

    @rule(number=BOTH)
    def worker_is_silent(self, number: int) -> None:
        silent = self.worker(number)
        self.silent.update(silent.engine.open_ids)
        self.run(self.after(self.duo.pass_time(SILENCE, self.duo.other(silent))))

    @rule(number=BOTH)
    def store_is_away_for_one(self, number: int) -> None:
        cut_off = self.worker(number)
        self.silent.update(cut_off.engine.open_ids)
        cut_off.store.break_down()
        self.run(self.after(self.duo.pass_time(SILENCE, *self.duo.workers)))
        cut_off.store.mend()
        self.run(self.after())

    @rule(number=BOTH)
    def engine_dies(self, number: int) -> None:
        self.worker(number).engine.die(EngineCrashed("bang").info)
        self.run(self.after())

    @rule(number=BOTH)
    def worker_is_killed(self, number: int) -> None:
        async def kill() -> None:
            killed = self.worker(number)
            self.duo.committed()
            await killed.worker.close()
            killed.start_over()
            await killed.start()
            self.duo.take_away(killed)
            if self.duo.owner is killed:
                self.duo.give(killed)

        self.run(self.after(kill()))

    # What holds

    @invariant()
    def nobody_computes_what_a_worker_that_is_heard_of_has_open(self) -> None:
        twice = {id for id in self.runs if len(self.duo.at_work(id)) > 1}
        assert twice <= self.silent

    def teardown(self) -> None:
        try:
            self.run(self.heal())
        finally:
            self.run(self.duo.close())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()
            self.folder.cleanup()
            self.patch.undo()

    async def heal(self) -> None:
        """All goes well from now on."""
        self.duo.give(self.duo.first)
        async with asyncio.timeout(60):
            while self.duo.committed() < len(self.duo.log):
                await self.duo.pass_time(SILENCE, *self.duo.workers)
                for worker in self.duo.workers:
                    for id in tuple(worker.engine.open_ids):
                        worker.engine.finish(id)
                await self.duo.quiet()
        names = [self.duo.records.names(*id) & {"result", "error", "cancelled"} for id in self.runs]
        assert [len(each) for each in names] == [1] * len(self.runs)
        assert not list(self.duo.records.pending())
        told = {event.id: event.type for event in self.duo.first.told()}
        assert set(told) == {"/".join(id) for id in self.runs}
        assert len({(event.id, event.type) for event in self.duo.first.told()}) == len(told)


TestTwoWorkers = TwoWorkers.TestCase
TestTwoWorkers.settings = settings(
    max_examples=12, stateful_step_count=15, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

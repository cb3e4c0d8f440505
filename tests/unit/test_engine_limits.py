"""How long the engine process may be silent, and what counts as silence."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import psutil

from processor.engines.base import EngineLost, Finished, Progressed
from schemas.errors import EngineHung
from tests.support.engine_process import end_of, following, running, task


async def test_a_hanging_step_is_ended(tmp_path: Path):
    async with running(tmp_path, engine_step_limit=1.5) as engine:
        warm, hang = task(), task("hang.wav")
        await engine.open(warm)
        await end_of(engine, warm)
        pid = engine.pid
        await engine.open(hang)
        lost = await end_of(engine, hang)
        assert isinstance(lost, EngineLost)
        assert lost.error.code == EngineHung.code
        assert not psutil.pid_exists(pid or 0)


async def test_a_stopped_child_is_ended(tmp_path: Path):
    async with running(tmp_path, engine_step_limit=1.5) as engine:
        job = task("sleep-60.wav")
        await engine.open(job)
        await following(engine, lambda outcome: isinstance(outcome, Progressed))
        os.kill(engine.pid or 0, signal.SIGSTOP)
        lost = await end_of(engine, job)
        assert isinstance(lost, EngineLost)
        assert lost.error.code == EngineHung.code


async def test_a_library_that_lets_no_thread_run_is_ended(tmp_path: Path):
    async with running(tmp_path, engine_step_limit=1.5) as engine:
        companion, gil = task("sleep-60.wav"), task("gil.wav")
        await engine.open(companion)
        await following(engine, lambda outcome: isinstance(outcome, Progressed))
        await engine.open(gil)
        lost = await end_of(engine, gil)
        assert isinstance(lost, EngineLost)
        assert set(lost.ids) == {companion.id, gil.id}
        assert lost.error.code == EngineHung.code


async def test_a_library_that_lets_no_thread_run_for_a_while_is_waited_for(tmp_path: Path):
    async with running(tmp_path) as engine:
        gil = task("gil-1.wav")
        await engine.open(gil)
        assert isinstance(await end_of(engine, gil), Finished)


async def test_a_child_that_does_not_read_keeps_nobody_waiting(tmp_path: Path):
    """What is sent to it is more than a pipe holds."""
    async with running(tmp_path, engine_step_limit=2) as engine:
        warm = task()
        await engine.open(warm)
        await end_of(engine, warm)
        os.kill(engine.pid or 0, signal.SIGSTOP)
        large = [replace(task("sleep-60.wav"), params={"prompt": "x" * (64 << 10)}) for _ in range(40)]
        for job in large:
            await engine.open(job)
        lost = await end_of(engine, large[0])
        assert isinstance(lost, EngineLost)
        assert lost.error.code == EngineHung.code
        again = task()
        await engine.open(again)
        assert isinstance(await end_of(engine, again), Finished)


async def test_loading_has_a_limit_of_its_own(tmp_path: Path):
    async with running(tmp_path, engine_step_limit=0.3, engine_load_limit=60) as engine:
        job = task("load-1.wav")
        await engine.open(job)
        assert isinstance(await end_of(engine, job), Finished)

    async with running(tmp_path, engine_load_limit=3) as engine:
        warm, job = task(), task("load-60.wav")
        await engine.open(warm)
        await end_of(engine, warm)
        await engine.open(job)
        lost = await end_of(engine, job)
        assert isinstance(lost, EngineLost)
        assert lost.error.code == EngineHung.code
        assert "load" in lost.error.detail


async def test_a_step_that_hangs_while_another_model_is_loaded_is_ended(tmp_path: Path):
    """Its limit is that of a step: the load goes on aside, and may take half an hour."""
    async with running(tmp_path, engine_step_limit=2, engine_load_limit=600, scripted_load_seconds=3) as engine:
        warm, other, hang = task(), task("sleep-60.wav", model="transcribe"), task("hang.wav")
        await engine.open(warm)
        await end_of(engine, warm)
        await engine.open(other)
        await engine.open(hang)
        lost = await end_of(engine, hang)
        assert isinstance(lost, EngineLost)
        assert set(lost.ids) == {other.id, hang.id}
        assert "sign of life" in lost.error.detail


async def test_a_step_that_hangs_right_after_the_load_of_its_model_is_ended(tmp_path: Path):
    async with running(tmp_path, engine_step_limit=2, engine_load_limit=600) as engine:
        hang = task("hang.wav")
        await engine.open(hang)
        lost = await end_of(engine, hang)
        assert isinstance(lost, EngineLost)
        assert lost.error.code == EngineHung.code


async def test_a_load_aside_that_never_ends_is_ended(tmp_path: Path):
    async with running(tmp_path, engine_load_limit=3, scripted_load_seconds=60) as engine:
        job = task()
        await engine.open(job)
        lost = await end_of(engine, job)
        assert isinstance(lost, EngineLost)
        assert "load" in lost.error.detail


async def test_a_worker_that_stood_still_itself_does_not_take_its_engine_for_dead(tmp_path: Path):
    """Both are stopped, as where a machine is paused, and what the engine says afterwards comes later than the next look."""
    async with running(tmp_path, engine_step_limit=2) as engine:
        job = task("sleep-1.wav")
        await engine.open(job)
        await following(engine, lambda outcome: isinstance(outcome, Progressed))
        pid = engine.pid or 0
        os.kill(pid, signal.SIGSTOP)
        time.sleep(3)  # noqa: ASYNC251 - nobody looks meanwhile
        os.kill(pid, signal.SIGCONT)
        assert isinstance(await end_of(engine, job), Finished)
        assert engine.pid == pid

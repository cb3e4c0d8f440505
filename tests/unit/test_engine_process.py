"""The engine process and its keeper, with the scripted engine: what happens to a child that dies, hangs, or is left alone."""

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest

from processor import engine_process
from processor.engine_process import EngineProcess
from processor.engines import child
from processor.engines.base import EngineLost, Failed, Finished, ModelsChanged, Progressed
from processor.model_manager import Reason
from schemas.errors import EngineCrashed, EngineFailed, EngineOutOfMemory, UnknownOperation
from schemas.results import DiarizationResult
from tests.support.engine_process import LIMIT, end_of, following, running, task
from tests.support.waiting import until
from turnstream.settings import Settings


async def test_a_job_comes_back_with_a_whole_result(tmp_path: Path):
    async with running(tmp_path) as engine:
        job = task()
        await engine.open(job)
        finished = await end_of(engine, job)
    assert isinstance(finished, Finished)
    timings = {**finished.result["timings"], "queue": 0}
    result = DiarizationResult.model_validate(
        {**finished.result, "job_id": job.job.id, "run": job.run, "timings": timings}
    )
    assert [turn.speaker for turn in result.segments] == ["SPEAKER_00", "SPEAKER_01"]
    assert result.model.name == "scripted"


async def test_several_jobs_advance_together_and_tell_their_progress(tmp_path: Path):
    async with running(tmp_path) as engine:
        slow, quick = task("sleep-0.6.wav"), task("sleep-0.2.wav")
        await engine.open(slow)
        await engine.open(quick)
        seen = await following(engine, lambda outcome: outcome.id == slow.id and isinstance(outcome, Finished))
    assert [outcome.id for outcome in seen if isinstance(outcome, Finished)] == [quick.id, slow.id]
    fractions = [outcome.progress.fraction for outcome in seen if isinstance(outcome, Progressed)]
    assert len(fractions) >= 3
    assert all(0 <= fraction <= 1 for fraction in fractions)


@pytest.mark.parametrize(
    ("filename", "error"),
    [("error.wav", EngineFailed), ("memory.wav", EngineOutOfMemory), ("allocate.wav", EngineOutOfMemory)],
)
async def test_a_failed_job_leaves_the_child_alone(tmp_path: Path, filename: str, error: type[EngineFailed]):
    async with running(tmp_path) as engine:
        pid, bad, good = engine.pid, task(filename), task()
        await engine.open(bad)
        await engine.open(good)
        failed = await end_of(engine, bad)
        assert isinstance(failed, Failed)
        assert failed.error.code == error.code
        assert engine.pid == pid
        later = task()
        await engine.open(later)
        assert isinstance(await end_of(engine, later), Finished)


async def test_a_crash_loses_all_open_jobs_and_the_child_is_replaced(tmp_path: Path):
    async with running(tmp_path) as engine:
        pid, waiting, crash = engine.pid, task("sleep-60.wav"), task("crash.wav")
        await engine.open(waiting)
        await engine.open(crash)
        lost = await end_of(engine, crash)
        assert isinstance(lost, EngineLost)
        assert set(lost.ids) == {waiting.id, crash.id}
        assert lost.error.code == EngineCrashed.code
        assert "SIGKILL" in lost.error.detail
        assert "memory" in lost.error.detail
        assert engine.pid not in {pid, None}
        again = task()
        await engine.open(again)
        assert isinstance(await end_of(engine, again), Finished)


async def test_a_child_killed_from_outside_is_replaced(tmp_path: Path):
    async with running(tmp_path) as engine:
        job = task("sleep-60.wav")
        await engine.open(job)
        await following(engine, lambda outcome: isinstance(outcome, Progressed))
        os.kill(engine.pid or 0, signal.SIGSEGV)
        lost = await end_of(engine, job)
        assert isinstance(lost, EngineLost)
        assert "SIGSEGV" in lost.error.detail
        assert "memory" not in lost.error.detail


async def test_a_bad_pointer_loses_the_child(tmp_path: Path):
    async with running(tmp_path) as engine:
        job = task("segfault.wav")
        await engine.open(job)
        lost = await end_of(engine, job)
        assert isinstance(lost, EngineLost)
        assert "SIGSEGV" in lost.error.detail


async def test_an_idle_child_killed_from_outside_is_replaced_in_silence(tmp_path: Path):
    async with running(tmp_path) as engine:
        first = task()
        await engine.open(first)
        await end_of(engine, first)
        pid = engine.pid or 0
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(until, lambda: engine.pid not in {pid, None}, LIMIT)
        second = task()
        await engine.open(second)
        assert isinstance(await end_of(engine, second), Finished)


async def test_a_cancelled_job_says_nothing_more(tmp_path: Path):
    async with running(tmp_path) as engine:
        gone, kept = task("sleep-0.3.wav"), task("sleep-1.wav")
        await engine.open(gone)
        await engine.open(kept)
        await following(engine, lambda outcome: outcome.id == gone.id)
        await engine.cancel(gone.id)
        await engine.cancel(("no such job", "live"))
        seen = await following(engine, lambda outcome: isinstance(outcome, Finished))
    assert {outcome.id for outcome in seen} == {kept.id}


async def test_a_job_opened_before_the_child_is_ready_waits_for_it(tmp_path: Path):
    async with running(tmp_path, engine_step_limit=0.3) as engine:
        job = task()
        await engine.open(job)  # Python alone takes some tenths of a second to start
        assert isinstance(await end_of(engine, job), Finished)


async def test_a_child_that_dies_at_its_start_is_not_replaced_in_a_rush(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(engine_process, "FIRST_PAUSE", 60)
    monkeypatch.setattr(engine_process, "LONGEST_PAUSE", 60)
    async with running(tmp_path) as engine:
        os.kill(engine.pid or 0, signal.SIGKILL)
        await asyncio.to_thread(until, lambda: engine.pid is None, LIMIT)
        await engine.open(task())  # taken, for the next child
        assert engine.pid is None


async def test_ctrl_c_is_the_parents_to_answer(tmp_path: Path):
    async with running(tmp_path) as engine:
        job = task("sleep-0.3.wav")
        await engine.open(job)
        os.kill(engine.pid or 0, signal.SIGINT)
        assert isinstance(await end_of(engine, job), Finished)


async def test_closing_ends_a_child_that_hangs(tmp_path: Path):
    async with running(tmp_path) as engine:
        pid = engine.pid or 0
        await engine.open(task("hang.wav"))
        await asyncio.sleep(0)
        started = time.monotonic()
    assert time.monotonic() - started < engine_process.CLOSE_LIMIT + 3
    assert not psutil.pid_exists(pid)
    assert engine.pid is None


# Models

MODEL = 16 << 20
"""Bytes of a scripted model: far more than the memory of a process moves by itself."""


async def told(engine: EngineProcess, last: Callable[[ModelsChanged], bool]) -> list[ModelsChanged]:
    """What is told of models, up to what `last` is true of."""
    seen: list[ModelsChanged] = []
    async with asyncio.timeout(LIMIT), aclosing(engine.outcomes()) as outcomes:
        async for outcome in outcomes:
            if isinstance(outcome, ModelsChanged):
                seen.append(outcome)
                if last(outcome):
                    break
    return seen


def resident(*models: str) -> Callable[[ModelsChanged], bool]:
    return lambda told: set(told.resident) == set(models)


async def test_models_that_fit_stay_together(tmp_path: Path):
    async with running(tmp_path, scripted_model_bytes=MODEL, model_memory_budget=4 * MODEL) as engine:
        await engine.open(task("sleep-0.1.wav", "diarize"))
        seen = await told(engine, resident("diarize"))
        await engine.open(task("sleep-0.1.wav", "transcribe"))
        seen += await told(engine, resident("diarize", "transcribe"))
    loads = [load for changed in seen for load in changed.loads]
    assert [load.model for load in loads] == ["diarize", "transcribe"]
    assert all(MODEL // 2 < load.bytes < 2 * MODEL for load in loads)
    assert not any(changed.unloads for changed in seen)


async def test_a_model_in_focus_takes_the_place_of_another_whose_jobs_go_on_later(tmp_path: Path):
    async with running(tmp_path, scripted_model_bytes=MODEL, model_memory_budget=MODEL * 3 // 2) as engine:
        await engine.focus("diarize")
        first, second = task("sleep-60.wav"), task("sleep-0.1.wav", "transcribe")
        await engine.open(first)
        await told(engine, resident("diarize"))
        await engine.prefetch("transcribe")
        await engine.focus("transcribe")
        await engine.open(second)
        seen = await told(engine, resident("transcribe"))
        unloaded = [unloaded for changed in seen for unloaded in changed.unloads]
        assert [(unload.model, unload.reason) for unload in unloaded] == [("diarize", Reason.SWAP)]
        assert isinstance(await end_of(engine, second), Finished)
        await engine.focus("diarize")
        await told(engine, resident("diarize"))
        progressed = (await following(engine, lambda outcome: isinstance(outcome, Progressed)))[-1]
        assert progressed.id == first.id


async def test_an_idle_model_is_unloaded_while_the_child_waits_for_commands(tmp_path: Path):
    async with running(tmp_path, scripted_model_bytes=MODEL, model_idle_seconds=0.2) as engine:
        job = task()
        await engine.open(job)
        assert isinstance(await end_of(engine, job), Finished)
        seen = await told(engine, lambda changed: bool(changed.unloads))
        assert [unloaded.reason for unloaded in seen[-1].unloads] == [Reason.IDLE]
        assert seen[-1].resident == ()


async def test_a_new_child_has_no_models_and_the_same_focus(tmp_path: Path):
    async with running(tmp_path, scripted_model_bytes=MODEL, model_memory_budget=MODEL * 3 // 2) as engine:
        await engine.focus("transcribe")
        job = task("sleep-60.wav", "transcribe")
        await engine.open(job)
        await told(engine, resident("transcribe"))
        os.kill(engine.pid or 0, signal.SIGKILL)
        await told(engine, resident())
        assert isinstance(await end_of(engine, job), EngineLost)
        await engine.open(task("sleep-60.wav", "diarize"))  # without the focus, the oldest job's model would stay
        await engine.open(task("sleep-60.wav", "transcribe"))
        await told(engine, resident("transcribe"))


async def test_a_job_of_no_engine_fails_alone(tmp_path: Path):
    async with running(tmp_path) as engine:
        bad, good = task(model="smell"), task()
        await engine.open(bad)
        await engine.open(good)
        failed = await end_of(engine, bad)
        assert isinstance(failed, Failed)
        assert failed.error.code == UnknownOperation.code
        assert isinstance(await end_of(engine, good), Finished)


PARENT = """
    import asyncio, pathlib, sys
    from tests.support.worker import new_job
    from processor.engine_process import EngineProcess
    from processor.engines.base import JobTask
    from turnstream.settings import Settings

    async def main():
        engine = EngineProcess(Settings(engine="scripted", data_dir=pathlib.Path(sys.argv[1])))
        await engine.start()
        for filename in ("sleep-60.wav", *sys.argv[2:]):
            await engine.open(JobTask(new_job(filename), "live", "diarize", {}))
            async for _ in engine.outcomes():
                break
        if sys.argv[2:]:
            await engine.open(JobTask(new_job("hang.wav"), "live", "diarize", {}))
        print(engine.pid, flush=True)
        await asyncio.sleep(600)

    if __name__ == "__main__":
        asyncio.run(main())
"""


@pytest.mark.parametrize("jobs", [[], ["a.wav"]], ids=["between steps", "in a hanging step"])
def test_the_child_dies_with_a_parent_that_is_killed(tmp_path: Path, jobs: list[str]):
    script = tmp_path / "parent.py"
    script.write_text(textwrap.dedent(PARENT))
    root = Path(__file__).parents[2]
    command = [sys.executable, str(script), str(tmp_path / "data"), *jobs]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(root)}
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not gone(pid)
        parent.kill()
    until(lambda: gone(pid), 1)


def test_the_end_of_the_pipe_alone_ends_the_child(tmp_path: Path):
    """Where the system has no signal for a parent's death."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    settings = Settings(engine="scripted", data_dir=tmp_path)
    process = spawn.Process(target=child.main, args=(theirs, settings, os.getpid()))
    process.start()
    theirs.close()
    assert ours.poll(LIMIT)
    ours.send(child.Open(task("load-60.wav")))
    until(lambda: ours.poll(LIMIT) and ours.recv().silent, LIMIT)  # now the step does not return
    ours.close()
    process.join(1)
    assert process.exitcode == 1


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True

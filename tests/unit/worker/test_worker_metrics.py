"""What a worker counts as jobs go through its hands."""

import pytest

from processor.engines.base import Finished, ModelsChanged
from schemas.errors import AudioUnreadable, EngineCrashed, EngineFailed
from schemas.jobs import JobState
from tests.support.lone_worker import LoneWorker
from tests.support.metrics import samples
from tests.support.worker import finished, new_job


def read(stack: LoneWorker) -> dict[str, float]:
    return samples(stack.worker.metrics.exposition()[0].decode())


async def test_an_opening_is_warm_where_the_model_was_loaded(stack: LoneWorker, monkeypatch: pytest.MonkeyPatch):
    async def focus(_: str) -> None:
        """It says what is loaded when the test wants it to."""

    monkeypatch.setattr(stack.engine, "focus", focus)
    cold = stack.submit()
    await stack.until(lambda: stack.engine.open_ids)
    stack.engine.say(ModelsChanged(resident=("diarize",)))
    stack.engine.finish(cold)
    await stack.until(lambda: stack.acked == [0])
    stack.submit()
    await stack.until(lambda: stack.engine.open_ids)
    stack.engine.die(EngineCrashed("bang").info)
    found = read(stack)
    assert found["turnstream_openings_total{model=diarize,warm=no}"] == 1
    assert found["turnstream_openings_total{model=diarize,warm=yes}"] == 1
    await stack.until(lambda: "turnstream_engine_losses_total{code=engine_crashed}" in read(stack))


async def test_parts_of_a_computation_and_the_length_of_its_recording(stack: LoneWorker):
    job = new_job()
    audio = job.audio.model_copy(update={"duration": 20.0})
    id = stack.submit(job.model_copy(update={"audio": audio}))
    await stack.until(lambda: stack.engine.open_ids)
    stack.engine.finish(id)
    await stack.until(lambda: stack.acked == [0])
    found = read(stack)
    assert found["turnstream_stage_seconds_sum{model=diarize,stage=embedding}"] == 0.1
    assert found["turnstream_audio_seconds_total{model=diarize}"] == 20
    assert found["turnstream_real_time_factor_sum{model=diarize}"] == 0.1 / 20


async def test_timings_that_are_none_fail_their_job_alone(stack: LoneWorker):
    bad, good = stack.submit(), stack.submit()
    await stack.until(lambda: len(stack.engine.open_ids) == 2)
    stack.engine.open_ids.remove(bad)
    stack.engine.say(Finished(bad, finished(bad).result | {"timings": {"decode": "soon", "total": None}}))
    stack.engine.finish(good)
    await stack.come_back()
    await stack.until(lambda: stack.state(good) is JobState.SUCCEEDED)
    assert not stack.worker.broken.is_set()


async def test_retries_failures_and_dead_letters(stack: LoneWorker):
    passing, caller = stack.submit(), stack.submit()
    await stack.until(lambda: len(stack.engine.open_ids) == 2)
    stack.engine.fail(passing, EngineFailed("now and then").info)
    stack.engine.fail(caller, AudioUnreadable("broken").info)
    await stack.come_back()
    await stack.until(lambda: stack.engine.open_ids)
    stack.engine.fail(passing, EngineFailed("for good").info)
    await stack.until(lambda: len(stack.acked) == 3)
    found = read(stack)
    assert found["turnstream_retries_total{code=engine_failed,operation=diarize}"] == 1
    assert found["turnstream_jobs_failed_total{code=engine_failed,operation=diarize}"] == 1
    assert found["turnstream_jobs_failed_total{code=audio_unreadable,operation=diarize}"] == 1
    assert found["turnstream_dead_letters_total{code=engine_failed}"] == 1
    assert "turnstream_dead_letters_total{code=audio_unreadable}" not in found
    assert found["turnstream_engine_resident_bytes"] >= 0

"""What ends badly, in the worker, and what lies around it going away."""

import asyncio
from pathlib import Path

import pytest

from processor.engines.base import Finished
from schemas.errors import AudioUnreadable, EngineCrashed
from schemas.jobs import JobState
from schemas.operations import DIARIZE
from schemas.results import RunFailed
from tests.support.lone_worker import LoneWorker
from tests.support.worker import accept, job_event, new_job


async def test_a_failed_job_is_told_as_failed(stack: LoneWorker):
    id = stack.submit()
    await stack.until(lambda: stack.engine.open_ids)
    stack.engine.fail(id, AudioUnreadable("broken").info)
    await stack.until(lambda: stack.acked == [0])
    assert stack.told()[0].read(DIARIZE.failed, RunFailed).error.code == "audio_unreadable"
    assert stack.bus.records("gpu-jobs.dlq") == []


async def test_a_result_that_does_not_fit_fails_its_job_alone(stack: LoneWorker):
    bad, good = stack.submit(), stack.submit()
    await stack.until(lambda: len(stack.engine.open_ids) == 2)
    stack.engine.say(Finished(bad, {"segments": "none"}))
    stack.engine.finish(good)
    await stack.come_back()
    await stack.until(lambda: stack.engine.opened.count(bad) == 2)
    stack.engine.say(Finished(bad, {"segments": "none"}))
    await stack.until(lambda: len(stack.acked) == 3)
    assert stack.state(bad) is JobState.FAILED
    assert stack.state(good) is JobState.SUCCEEDED


async def test_jobs_of_a_lost_engine_are_tried_alone_and_the_bad_one_fails_alone(stack: LoneWorker):
    bad, good = stack.submit(), stack.submit()
    later = stack.submit()
    await stack.until(lambda: len(stack.engine.open_ids) == 2)
    stack.engine.die(EngineCrashed("bang").info)
    await stack.until(lambda: stack.engine.open_ids)
    await stack.quiet()
    assert stack.engine.open_ids == [bad]
    stack.engine.die(EngineCrashed("bang").info)
    await stack.until(lambda: stack.engine.open_ids == [good])
    await stack.quiet()
    assert stack.engine.open_ids == [good]
    stack.engine.finish(good)
    await stack.until(lambda: stack.engine.open_ids == [later])
    stack.engine.finish(later)
    await stack.until(lambda: len(stack.acked) == 3)
    assert [stack.state(id) for id in (bad, good, later)] == [
        JobState.FAILED,
        JobState.SUCCEEDED,
        JobState.SUCCEEDED,
    ]
    (letter,) = stack.bus.records("gpu-jobs.dlq")
    assert dict(letter.headers)["error"] == b"engine_crashed"
    assert dict(letter.headers)["attempt"] == b"2"
    first_openings = b'turnstream_job_wait_seconds_count{lane="interactive",operation="diarize"} 3.0'
    assert first_openings in stack.worker.metrics.exposition()[0].splitlines()


async def test_a_job_that_takes_the_worker_down_each_time_ends(tmp_path: Path):
    stack = LoneWorker(tmp_path, diarization_max_batch_size=4, max_attempts=2)
    bad = accept(stack.records, new_job())
    good = accept(stack.records, new_job())
    for worker in range(3):
        await stack.start()
        for offset, job in enumerate((bad, good)):
            stack.receive(job_event(job), offset)
        if worker == 0:
            await stack.until(lambda: len(stack.engine.open_ids) == 2)
        elif worker == 1:  # both were open when it died: one at a time now
            await stack.until(lambda: stack.engine.open_ids)
            await stack.quiet()
            assert stack.engine.open_ids == [(bad.id, "live")]
        else:
            await stack.until(lambda: stack.engine.open_ids == [(good.id, "live")])
            stack.engine.finish((good.id, "live"))
            await stack.until(lambda: stack.acked == [0, 1])
        await stack.worker.close()  # as a kill: nothing is handed back
        stack.start_over()
    assert stack.records.ending(bad.id, "live").error.code == "attempts_exhausted"
    assert len(stack.bus.records("gpu-jobs.dlq")) == 1
    assert stack.state((good.id, "live")) is JobState.SUCCEEDED


async def test_a_store_that_is_away_delays_and_loses_nothing(stack: LoneWorker):
    id = stack.submit()
    await stack.until(lambda: stack.engine.open_ids)
    stack.store.break_down()
    stack.engine.finish(id)
    await stack.quiet()
    assert stack.acked == []
    stack.store.mend()
    await stack.until(lambda: stack.acked == [0])
    assert stack.state(id) is JobState.SUCCEEDED


async def test_a_broker_that_is_away_delays_and_other_jobs_go_on(stack: LoneWorker):
    first, second = stack.submit(), stack.submit()
    await stack.until(lambda: len(stack.engine.open_ids) == 2)
    stack.bus.break_down()
    stack.engine.finish(first)
    await stack.until(lambda: stack.state(first))
    stack.engine.finish(second)
    await stack.until(lambda: stack.state(second))
    assert stack.acked == []
    stack.bus.mend()
    await stack.until(lambda: stack.acked == [0, 1])
    assert len(stack.told()) == 2


def ends_of(stack: LoneWorker, id: tuple[str, str]) -> set[str]:
    """By the names of their objects."""
    names = {info.key.rsplit("/", 1)[1] for info in stack.store.list(f"jobs/{id[0]}/runs/{id[1]}/")}
    return names & {"result.json", "error.json", "cancelled.json"}


async def test_a_cancel_that_comes_with_the_failure_adds_no_second_end(stack: LoneWorker):
    id = stack.submit()
    await stack.until(lambda: stack.engine.open_ids)
    stack.engine.fail(id, AudioUnreadable("broken").info)
    await asyncio.create_task(stack.worker.cancel(id))
    await stack.until(lambda: stack.acked == [0])
    await stack.quiet()
    assert ends_of(stack, id) == {"error.json"}
    assert [event.type for event in stack.told()] == [DIARIZE.failed]


@pytest.mark.parametrize("good", [True, False])
async def test_a_job_whose_end_comes_as_its_partition_moves_is_not_handed_back(stack: LoneWorker, good: bool):
    job = accept(stack.records, new_job())
    id = (job.id, "live")
    stack.receive(job_event(job))
    await stack.until(lambda: stack.engine.open_ids)
    if good:
        stack.engine.finish(id)
    else:
        stack.engine.fail(id, AudioUnreadable("broken").info)
    stack.worker.assigned({1})
    stack.receive(job_event(job), offset=0, partition=0)  # and is ours again at once
    await stack.until(lambda: stack.acked == [0])
    await stack.quiet()
    assert stack.engine.opened == [id]
    assert len(stack.told()) == 1
    assert not stack.worker.broken.is_set()

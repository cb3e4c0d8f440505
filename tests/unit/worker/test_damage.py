"""Objects of a run that somebody else wrote, or a disk spoiled: the run comes to an end, and others do not wait for it."""

import logging
from pathlib import Path

import pytest

from schemas.jobs import JobState
from schemas.operations import DIARIZE
from schemas.results import RunFailed
from schemas.topics import Topic
from tests.support.delivering import Bench
from tests.support.lone_worker import LoneWorker
from tests.support.worker import accept, job_event, new_job
from tests.unit.worker.test_stages import through

DAMAGED = b'{"state": "succ'


def damage(stack: LoneWorker | Bench, id: tuple[str, str], name: str) -> None:
    stack.store.put(f"jobs/{id[0]}/runs/{id[1]}/{name}.json", DAMAGED)


async def test_attempts_that_nobody_can_read_count_as_none(stack: LoneWorker):
    job = accept(stack.records, new_job())
    id = job.id, "live"
    damage(stack, id, "attempts")
    stack.receive(job_event(job))
    await stack.until(lambda: stack.engine.open_ids == [id])
    assert stack.records.attempts(*id).count == 1
    damage(stack, id, "attempts")
    await stack.worker.leases.renew()
    stack.engine.finish(id)
    await stack.until(lambda: stack.acked == [0])
    assert stack.state(id) is JobState.SUCCEEDED


async def test_a_stage_that_nobody_can_read_is_computed_again(stack: LoneWorker):
    job = accept(stack.records, new_job(operation="transcript"))
    id = job.id, "live"
    damage(stack, id, "stages/diarize")
    stack.receive(job_event(job))
    await through(stack, id, "diarize", "transcribe")
    await stack.until(lambda: stack.acked == [0])
    assert stack.state(id) is JobState.SUCCEEDED


@pytest.mark.parametrize("computed", [False, True])
async def test_a_run_whose_end_nobody_can_read_is_told_as_failed(
    tmp_path: Path, computed: bool, caplog: pytest.LogCaptureFixture
):
    stack = await LoneWorker(tmp_path).start()
    job, other = accept(stack.records, new_job()), accept(stack.records, new_job())
    id = job.id, "live"
    if not computed:
        damage(stack, id, "ended")
    caplog.set_level(logging.ERROR)
    stack.receive(job_event(job))
    stack.receive(job_event(other))
    await stack.until(lambda: len(stack.engine.open_ids) == 1 + computed)
    if computed:
        damage(stack, id, "ended")
        stack.engine.finish(id)
    stack.engine.finish((other.id, "live"))
    await stack.until(lambda: stack.acked == [0, 1])
    [failed] = [event for event in stack.told() if event.type == DIARIZE.failed]
    error = failed.read(DIARIZE.failed, RunFailed).error
    assert (failed.subject, error.code) == (job.id, "internal_error")
    assert "ended.json" in error.detail
    [letter] = stack.bus.records(Topic.JOBS_DLQ)
    assert dict(letter.headers)["error"] == b"internal_error"
    assert "nobody can read how" in caplog.text
    assert not stack.records.is_pending(*id)
    await stack.worker.close()


async def test_a_record_that_cannot_be_read_of_a_run_whose_end_cannot_either_is_set_aside_once(stack: LoneWorker):
    job = accept(stack.records, new_job(operation="later"))  # an operation that a later release knows
    id = job.id, "live"
    damage(stack, id, "ended")
    stack.receive(job_event(job))
    await stack.until(lambda: stack.acked == [0])
    assert len(stack.bus.records(Topic.JOBS_DLQ)) == 1
    assert not stack.records.is_pending(*id)

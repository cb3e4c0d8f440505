"""The way of a job through the worker: records in, jobs opened, ends told."""

import re

import pytest

from processor import signals
from processor.engines.base import Progressed
from schemas.events import (
    JOB_PROGRESSED,
    JOB_REQUESTED,
    Event,
    event_id,
)
from schemas.jobs import JobProgressed, JobState, Progress
from schemas.operations import DIARIZE
from schemas.results import DiarizationCompleted, RunFailed
from tests.support.lone_worker import LoneWorker
from tests.support.worker import accept, job_event, new_job
from turnstream.bus.base import Position, Record


async def test_a_job_goes_all_the_way(stack: LoneWorker):
    id = stack.submit()
    await stack.until(lambda: stack.engine.opened == [id])
    assert stack.records.attempts(*id).count == 1
    assert stack.acked == []
    stack.engine.finish(id)
    await stack.until(lambda: stack.acked == [0])
    assert stack.state(id) is JobState.SUCCEEDED
    assert stack.records.mark(*id) is None
    completed = stack.told()[0].read(DIARIZE.completed, DiarizationCompleted)
    assert completed.result is not None
    assert 0 <= completed.result.timings.queue < 5


async def test_acknowledgements_keep_the_order_of_the_partition(stack: LoneWorker):
    first, second = stack.submit(), stack.submit()
    await stack.until(lambda: len(stack.engine.opened) == 2)
    stack.engine.finish(second)
    await stack.until(lambda: stack.state(second))
    await stack.quiet()
    assert stack.acked == []
    stack.engine.finish(first)
    await stack.until(lambda: stack.acked == [0, 1])


async def test_no_more_jobs_are_open_than_the_batch_size_and_the_rest_follow(stack: LoneWorker):
    ids = [stack.submit() for _ in range(7)]
    for n in range(7):
        await stack.until(lambda n=n: len(stack.engine.open_ids) == min(2, 7 - n))
        stack.engine.finish(stack.engine.open_ids[0])
    await stack.until(lambda: len(stack.acked) == 7)
    assert stack.engine.most_open == 2
    assert sorted(stack.engine.opened) == sorted(ids)


# Records that are no jobs


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda e: (e.headers, b"\xff\xfe{"), b"event_invalid"),
        (lambda e: (e.headers, None), b"event_invalid"),
        (lambda e: ((), b"{}"), b"event_invalid"),
        (lambda e: (e.headers, b'{"job_id": 1}'), b"event_invalid"),
        (lambda e: (e.headers, b"[" * 200_000), b"event_invalid"),
        (lambda e: (e.headers, e.data + b" " * (256 << 10)), b"event_invalid"),
        (lambda e: ((*e.headers, ("mine", bytes(256 << 10))), e.data), b"event_invalid"),
        (lambda e: (e.headers, e.data.replace(b'"diarize"', b'"sing"')), b"unknown_operation"),
        (lambda e: (e.headers, e.data.replace(b'"diarize"', b"[]")), b"event_invalid"),
        (
            lambda e: (e.headers, re.sub(rb'"created_at":"[^"]*"', b'"created_at":"0001-01-01"', e.data)),
            b"event_invalid",
        ),
        (lambda e: (e.headers, e.data.replace(b'"size":', b'"duration":Infinity,"size":')), b"event_invalid"),
        (
            lambda e: (e.model_copy(update={"type": JOB_REQUESTED.replace(".v1", ".v9")}).headers, e.data),
            b"event_version_unknown",
        ),
        (lambda e: (e.model_copy(update={"type": "a.stranger.v1"}).headers, e.data), b"event_invalid"),
    ],
)
async def test_poison_is_set_aside_and_the_worker_goes_on(stack: LoneWorker, change, code: bytes):
    headers, value = change(job_event(new_job()))
    stack.receive(Record(Position("gpu-jobs", 0, 0), b"key", value, headers))
    id = stack.submit()
    await stack.until(lambda: stack.engine.opened == [id])
    stack.engine.finish(id)
    await stack.until(lambda: stack.acked == [0, 1])
    (letter,) = stack.bus.records("gpu-jobs.dlq")
    assert (letter.key, letter.value) == (b"key", value)
    assert dict(letter.headers)["error"] == code
    assert dict(letter.headers)["src"] == b"gpu-jobs/0/0"


@pytest.mark.parametrize(
    "change",
    [
        lambda e: (e.headers, e.data.replace(b'"diarize"', b'"sing"')),
        lambda e: (e.model_copy(update={"type": JOB_REQUESTED.replace(".v1", ".v9")}).headers, e.data),
    ],
    ids=["unknown operation", "unknown version"],
)
async def test_a_pending_run_whose_event_cannot_be_read_ends_with_that_error(stack: LoneWorker, change):
    job = accept(stack.records, new_job())
    headers, value = change(job_event(job))
    stack.receive(Record(Position("gpu-jobs", 0, 0), job.id.encode(), value, headers))
    await stack.until(lambda: stack.acked == [0])
    (event,) = stack.told()
    failed = event.read(DIARIZE.failed, RunFailed)
    assert event.id == event_id(job.id, "live")
    assert failed.error == stack.records.ending(job.id, "live").error
    assert failed.error.code in {"unknown_operation", "event_version_unknown"}
    assert list(stack.records.pending()) == []  # else the sweep would publish it again, for ever
    assert len(stack.bus.records("gpu-jobs.dlq")) == 1


async def test_a_pending_run_of_a_job_as_new_as_its_event_ends_in_the_store(stack: LoneWorker):
    job = accept(stack.records, new_job())
    newer = stack.store.get(f"jobs/{job.id}/job.json").replace(b'"diarize"', b'"sing"')
    stack.store.put(f"jobs/{job.id}/job.json", newer)
    event = job_event(job)
    value = event.data.replace(b'"diarize"', b'"sing"')
    stack.receive(Record(Position("gpu-jobs", 0, 0), event.key, value, event.headers))
    await stack.until(lambda: stack.acked == [0])
    assert stack.records.ending(job.id, "live").error.code == "unknown_operation"
    assert list(stack.records.pending()) == []
    assert stack.told() == []


async def test_a_record_that_cannot_be_read_does_not_end_a_run_twice(stack: LoneWorker):
    id = stack.submit()
    await stack.until(lambda: stack.engine.open_ids)
    stack.engine.finish(id)
    await stack.until(lambda: stack.acked == [0])
    event = Event.of(
        JOB_REQUESTED.replace(".v1", ".v9"), "turnstream/api", id[0], event_id(*id), Progress(stage="", fraction=0)
    )
    stack.receive(event)
    await stack.until(lambda: stack.acked == [0, 1])
    assert stack.state(id) is JobState.SUCCEEDED
    assert len(stack.told()) == 1


async def test_an_event_without_a_job_is_acknowledged_and_counted(stack: LoneWorker):
    stack.receive(job_event(new_job()))
    await stack.until(lambda: stack.acked == [0])
    assert stack.worker.orphans == 1
    assert list(stack.store.list("jobs/")) == []
    assert stack.told() == []


# Copies


async def test_a_copy_of_a_job_in_flight_is_acknowledged_with_it(stack: LoneWorker):
    job = accept(stack.records, new_job())
    for _ in range(3):
        stack.receive(job_event(job))
    await stack.until(lambda: stack.engine.open_ids)
    stack.engine.finish((job.id, "live"))
    await stack.until(lambda: stack.acked == [0, 1, 2])
    assert len(stack.engine.opened) == 1
    assert len(stack.told()) == 1


async def test_a_copy_of_a_job_that_is_done_is_only_acknowledged(stack: LoneWorker):
    job = accept(stack.records, new_job())
    stack.receive(job_event(job))
    await stack.until(lambda: stack.engine.open_ids)
    stack.engine.finish((job.id, "live"))
    await stack.until(lambda: stack.acked == [0])
    stack.receive(job_event(job))
    await stack.until(lambda: stack.acked == [0, 1])
    assert len(stack.engine.opened) == 1
    assert len(stack.told()) == 1


async def test_two_runs_of_a_job_are_two_jobs(stack: LoneWorker):
    job = accept(accepted_by := stack.records, new_job())
    stack.receive(job_event(job))
    stack.receive(job_event(job, "again"))
    await stack.until(lambda: len(stack.engine.open_ids) == 2)
    for id in list(stack.engine.open_ids):
        stack.engine.finish(id)
    await stack.until(lambda: len(stack.acked) == 2)
    assert {event.id for event in stack.told()} == {event_id(job.id, "live"), event_id(job.id, "again")}
    assert accepted_by.ended(job.id, "again")


# Cancelling


async def test_an_open_job_is_cancelled(stack: LoneWorker):
    id = stack.submit()
    await stack.until(lambda: stack.engine.open_ids)
    await stack.cancel(id)
    await stack.until(lambda: stack.acked == [0])
    assert stack.engine.cancelled == [id]
    assert stack.state(id) is JobState.CANCELLED
    assert stack.told()[0].read(DIARIZE.failed, RunFailed).error.code == "job_cancelled"


async def test_a_queued_job_is_cancelled_before_it_is_opened(stack: LoneWorker):
    open_ones = [stack.submit(), stack.submit()]
    queued = stack.submit()
    await stack.until(lambda: len(stack.engine.open_ids) == 2)
    await stack.cancel(queued)
    await stack.until(lambda: stack.state(queued))
    for id in open_ones:
        stack.engine.finish(id)
    await stack.until(lambda: stack.acked == [0, 1, 2])
    assert queued not in stack.engine.opened


async def test_a_job_cancelled_before_it_came_is_told_as_cancelled(stack: LoneWorker):
    job = accept(stack.records, new_job())
    stack.records.put_cancelled(job.id, "live")
    stack.receive(job_event(job))
    await stack.until(lambda: stack.acked == [0])
    assert stack.engine.opened == []
    assert stack.told()[0].type == DIARIZE.failed


async def test_control_takes_any_bytes_and_goes_on(stack: LoneWorker):
    id = stack.submit()
    await stack.until(lambda: stack.engine.open_ids)
    await stack.bus.publish("job-control", key=None, value=b"\xff", partition=0)
    await stack.cancel((new_job().id, "live"))
    await stack.cancel(id)
    await stack.until(lambda: stack.acked == [0])


# Progress


async def test_progress_is_told_at_most_once_in_an_interval(stack: LoneWorker, monkeypatch: pytest.MonkeyPatch):
    id = stack.submit()
    await stack.until(lambda: stack.engine.open_ids)
    for n in range(5):
        stack.engine.say(Progressed(id, Progress(stage="segmentation", fraction=n / 10)))
    await stack.until(lambda: stack.told("job-progress"))
    await stack.quiet()
    (event,) = stack.told("job-progress")
    assert event.read(JOB_PROGRESSED, JobProgressed).progress.fraction == 0
    monkeypatch.setattr(signals, "PROGRESS_INTERVAL", 0.0)
    stack.engine.say(Progressed(id, Progress(stage="segmentation", fraction=0.5)))
    await stack.until(lambda: len(stack.told("job-progress")) == 2)


async def test_a_job_that_the_engine_should_not_have_any_more_is_cancelled_there(stack: LoneWorker):
    stack.engine.say(Progressed(("gone", "live"), Progress(stage="decode", fraction=0)))
    await stack.until(lambda: stack.engine.cancelled == [("gone", "live")])

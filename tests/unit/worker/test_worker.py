"""The worker with an engine that does as it is told, and the twins of bus and store."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from processor import delivery, signals
from processor.engines.base import Failed, Finished, Progressed
from processor.worker import Worker
from schemas.errors import AudioUnreadable, EngineCrashed
from schemas.events import (
    CANCEL_REQUESTED,
    JOB_PROGRESSED,
    JOB_REQUESTED,
    Event,
    event_id,
)
from schemas.jobs import CancelRequested, Job, JobProgressed, JobState, Lane, Progress
from schemas.operations import DIARIZE
from schemas.results import DiarizationCompleted, RunFailed
from schemas.topics import Layout
from tests.support.worker import ToldEngine, accept, finished, job_event, new_job, record_of
from turnstream.bus.base import Position, Record
from turnstream.bus.memory import MemoryBus
from turnstream.object_store.memory import MemoryStore
from turnstream.operations import installed
from turnstream.records import Records
from turnstream.settings import Settings

LAYOUT = Layout().including(installed())


class Stack:
    """A worker with one partition assigned, and what lies around it."""

    def __init__(self, data_dir: Path, **settings: object) -> None:
        self.settings = Settings(_env_file=None, data_dir=data_dir, **settings)
        self.store = MemoryStore()
        self.records = Records(self.store)
        self.bus = MemoryBus()
        self.acked: list[int] = []
        self.paused: set[int] = set()
        self.offset = 0
        self.start_over()

    def start_over(self) -> None:
        """Another process: the same store and bus, a new worker and engine."""
        self.engine = ToldEngine()
        self.worker = Worker(self.settings, self.records, self.bus, LAYOUT, installed(), self.engine, self)

    def pause(self, partition: int) -> None:
        self.paused.add(partition)

    def resume(self, partition: int) -> None:
        self.paused.discard(partition)

    def behind(self) -> set[int]:
        return self.paused

    async def start(self) -> "Stack":
        await self.bus.ensure_topics(LAYOUT.topics())
        await self.worker.start()
        self.worker.assigned({0})
        return self

    def receive(self, event: Event | Record, offset: int | None = None, partition: int = 0) -> int:
        at = self.offset if offset is None else offset
        self.offset = max(self.offset, at + 1)
        record = event if isinstance(event, Record) else record_of(event, at, partition)
        self.worker.receive(record, lambda: self.acked.append(at))
        return at

    def submit(self, job: Job | None = None, **fields: object) -> tuple[str, str]:
        job = accept(self.records, job or new_job(**fields))
        self.receive(job_event(job))
        return job.id, "live"

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 - threads are in it, too
                await asyncio.sleep(0.001)

    async def quiet(self) -> None:
        """Whatever can go on without a word of the test has gone on."""
        for _ in range(20):
            await asyncio.sleep(0.001)

    def state(self, id: tuple[str, str]) -> JobState | None:
        ending = self.records.ending(*id)
        return ending.state if ending else None

    def told(self, topic: str = "diarization-results") -> list[Event]:
        return [Event.parse(record.headers, record.value) for record in self.bus.records(topic)]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "FIRST_DELAY", 0.001)
    monkeypatch.setattr(delivery, "LONGEST_DELAY", 0.01)


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    made = await Stack(tmp_path, diarization_max_batch_size=2, max_attempts=2, queue_limit=256).start()
    yield made
    await made.worker.close()
    assert not made.worker.broken.is_set()


async def test_a_job_goes_all_the_way(stack: Stack):
    id = stack.submit()
    await stack.until(lambda: stack.engine.opened == [id])
    assert stack.records.attempts(*id) == 1
    assert stack.acked == []
    stack.engine.finish(id)
    await stack.until(lambda: stack.acked == [0])
    assert stack.state(id) is JobState.SUCCEEDED
    assert stack.records.mark(*id) is None
    completed = stack.told()[0].read(DIARIZE.completed, DiarizationCompleted)
    assert completed.result is not None
    assert 0 <= completed.result.timings.queue < 5


async def test_acknowledgements_keep_the_order_of_the_partition(stack: Stack):
    first, second = stack.submit(), stack.submit()
    await stack.until(lambda: len(stack.engine.opened) == 2)
    stack.engine.finish(second)
    await stack.until(lambda: stack.state(second))
    await stack.quiet()
    assert stack.acked == []
    stack.engine.finish(first)
    await stack.until(lambda: stack.acked == [0, 1])


async def test_no_more_jobs_are_open_than_the_batch_size_and_the_rest_follow(stack: Stack):
    ids = [stack.submit() for _ in range(7)]
    for n in range(7):
        await stack.until(lambda n=n: len(stack.engine.opened) > n)
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
async def test_poison_is_set_aside_and_the_worker_goes_on(stack: Stack, change, code: bytes):
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
async def test_a_pending_run_whose_event_cannot_be_read_ends_with_that_error(stack: Stack, change):
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


async def test_a_pending_run_of_a_job_as_new_as_its_event_ends_in_the_store(stack: Stack):
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


async def test_a_record_that_cannot_be_read_does_not_end_a_run_twice(stack: Stack):
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


async def test_an_event_without_a_job_is_acknowledged_and_counted(stack: Stack):
    stack.receive(job_event(new_job()))
    await stack.until(lambda: stack.acked == [0])
    assert stack.worker.orphans == 1
    assert list(stack.store.list("jobs/")) == []
    assert stack.told() == []


# Copies


async def test_a_copy_of_a_job_in_flight_is_acknowledged_with_it(stack: Stack):
    job = accept(stack.records, new_job())
    for _ in range(3):
        stack.receive(job_event(job))
    await stack.until(lambda: stack.engine.open_ids)
    stack.engine.finish((job.id, "live"))
    await stack.until(lambda: stack.acked == [0, 1, 2])
    assert len(stack.engine.opened) == 1
    assert len(stack.told()) == 1


async def test_a_copy_of_a_job_that_is_done_is_only_acknowledged(stack: Stack):
    job = accept(stack.records, new_job())
    stack.receive(job_event(job))
    await stack.until(lambda: stack.engine.open_ids)
    stack.engine.finish((job.id, "live"))
    await stack.until(lambda: stack.acked == [0])
    stack.receive(job_event(job))
    await stack.until(lambda: stack.acked == [0, 1])
    assert len(stack.engine.opened) == 1
    assert len(stack.told()) == 1


async def test_two_runs_of_a_job_are_two_jobs(stack: Stack):
    job = accept(accepted_by := stack.records, new_job())
    stack.receive(job_event(job))
    stack.receive(job_event(job, "again"))
    await stack.until(lambda: len(stack.engine.open_ids) == 2)
    for id in list(stack.engine.open_ids):
        stack.engine.finish(id)
    await stack.until(lambda: len(stack.acked) == 2)
    assert {event.id for event in stack.told()} == {event_id(job.id, "live"), event_id(job.id, "again")}
    assert accepted_by.ended(job.id, "again")


# What ends badly


async def test_a_failed_job_is_told_as_failed(stack: Stack):
    id = stack.submit()
    await stack.until(lambda: stack.engine.open_ids)
    stack.engine.fail(id, AudioUnreadable("broken").info)
    await stack.until(lambda: stack.acked == [0])
    assert stack.told()[0].read(DIARIZE.failed, RunFailed).error.code == "audio_unreadable"
    assert stack.bus.records("gpu-jobs.dlq") == []


async def test_a_result_that_does_not_fit_fails_its_job_alone(stack: Stack):
    bad, good = stack.submit(), stack.submit()
    await stack.until(lambda: len(stack.engine.open_ids) == 2)
    stack.engine.say(Finished(bad, {"segments": "none"}))
    stack.engine.finish(good)
    await stack.until(lambda: len(stack.acked) == 2)
    assert stack.state(bad) is JobState.FAILED
    assert stack.state(good) is JobState.SUCCEEDED


async def test_jobs_of_a_lost_engine_are_tried_alone_and_the_bad_one_fails_alone(stack: Stack):
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


async def test_a_job_that_takes_the_worker_down_each_time_ends(tmp_path: Path):
    stack = Stack(tmp_path, diarization_max_batch_size=4, max_attempts=2)
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


async def test_a_store_that_is_away_delays_and_loses_nothing(stack: Stack):
    id = stack.submit()
    await stack.until(lambda: stack.engine.open_ids)
    stack.store.break_down()
    stack.engine.finish(id)
    await stack.quiet()
    assert stack.acked == []
    stack.store.mend()
    await stack.until(lambda: stack.acked == [0])
    assert stack.state(id) is JobState.SUCCEEDED


async def test_a_broker_that_is_away_delays_and_other_jobs_go_on(stack: Stack):
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


# Cancelling


async def cancel(stack: Stack, id: tuple[str, str]) -> None:
    event = Event.of(CANCEL_REQUESTED, "turnstream/api", id[0], event_id(*id), CancelRequested(job_id=id[0], run=id[1]))
    await stack.bus.publish("job-control", key=event.key, value=event.data, headers=event.headers, partition=0)


async def test_an_open_job_is_cancelled(stack: Stack):
    id = stack.submit()
    await stack.until(lambda: stack.engine.open_ids)
    await cancel(stack, id)
    await stack.until(lambda: stack.acked == [0])
    assert stack.engine.cancelled == [id]
    assert stack.state(id) is JobState.CANCELLED
    assert stack.told()[0].read(DIARIZE.failed, RunFailed).error.code == "job_cancelled"


async def test_a_queued_job_is_cancelled_before_it_is_opened(stack: Stack):
    open_ones = [stack.submit(), stack.submit()]
    queued = stack.submit()
    await stack.until(lambda: len(stack.engine.open_ids) == 2)
    await cancel(stack, queued)
    await stack.until(lambda: stack.state(queued))
    for id in open_ones:
        stack.engine.finish(id)
    await stack.until(lambda: stack.acked == [0, 1, 2])
    assert queued not in stack.engine.opened


async def test_a_job_cancelled_before_it_came_is_told_as_cancelled(stack: Stack):
    job = accept(stack.records, new_job())
    stack.records.put_cancelled(job.id, "live")
    stack.receive(job_event(job))
    await stack.until(lambda: stack.acked == [0])
    assert stack.engine.opened == []
    assert stack.told()[0].type == DIARIZE.failed


async def test_control_takes_any_bytes_and_goes_on(stack: Stack):
    id = stack.submit()
    await stack.until(lambda: stack.engine.open_ids)
    await stack.bus.publish("job-control", key=None, value=b"\xff", partition=0)
    await cancel(stack, (new_job().id, "live"))
    await cancel(stack, id)
    await stack.until(lambda: stack.acked == [0])


# Progress


async def test_progress_is_told_at_most_once_in_an_interval(stack: Stack, monkeypatch: pytest.MonkeyPatch):
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


async def test_a_job_that_the_engine_should_not_have_any_more_is_cancelled_there(stack: Stack):
    stack.engine.say(Progressed(("gone", "live"), Progress(stage="decode", fraction=0)))
    await stack.until(lambda: stack.engine.cancelled == [("gone", "live")])


# Partitions come and go


async def test_a_rebalance_drops_what_waits_and_adopts_what_is_open(stack: Stack):
    jobs = [accept(stack.records, new_job()) for _ in range(3)]
    for offset, job in enumerate(jobs):
        stack.receive(job_event(job), offset)
    await stack.until(lambda: len(stack.engine.open_ids) == 2)
    stack.worker.revoked()
    stack.receive(job_event(jobs[2]), 2)  # of the assignment that ends: left
    stack.worker.assigned({0})
    for offset, job in enumerate(jobs):
        stack.receive(job_event(job), offset)
    for n in range(3):
        await stack.until(lambda n=n: len(stack.engine.opened) > n)
        stack.engine.finish((jobs[n].id, "live"))
    await stack.until(lambda: stack.acked == [0, 1, 2])
    assert len(stack.engine.opened) == 3
    assert len(stack.told()) == 3


async def test_a_job_that_ends_between_two_assignments_is_only_acknowledged_later(stack: Stack):
    job = accept(stack.records, new_job())
    stack.receive(job_event(job), 0)
    await stack.until(lambda: stack.engine.open_ids)
    stack.worker.revoked()
    stack.worker.assigned({0})
    stack.engine.finish((job.id, "live"))
    await stack.until(lambda: stack.records.mark(job.id, "live") is None)
    assert stack.acked == []
    stack.receive(job_event(job), 0)
    await stack.until(lambda: stack.acked == [0])
    assert len(stack.told()) == 1


async def test_open_jobs_of_a_lost_partition_are_handed_back(stack: Stack):
    id = stack.submit()
    await stack.until(lambda: stack.engine.open_ids)
    stack.worker.revoked()
    stack.worker.assigned({5})
    await stack.until(lambda: stack.engine.cancelled == [id])
    await stack.until(lambda: stack.records.attempts(*id) == 0)
    assert stack.acked == []


async def test_a_job_on_its_way_into_the_engine_is_handed_back_when_its_partition_moved(stack: Stack):
    job = accept(stack.records, new_job())
    stack.store.break_down()  # holds it where its record is looked at
    stack.receive(job_event(job))
    await stack.quiet()
    stack.worker.revoked()
    stack.worker.assigned({5})
    stack.store.mend()
    last = stack.submit()
    await stack.until(lambda: stack.engine.opened == [last])
    await stack.quiet()
    assert stack.engine.opened == [last]
    assert stack.records.attempts(job.id, "live") == 0


async def test_a_full_partition_is_paused(stack: Stack):
    open_ones = [stack.submit(), stack.submit()]
    await stack.until(lambda: len(stack.engine.open_ids) == 2)
    for _ in range(254):
        stack.receive(job_event(new_job()))
    assert stack.paused == {0}
    for id in open_ones:
        stack.engine.finish(id)
    await stack.until(lambda: len(stack.acked) == 256)
    assert stack.paused == set()


# The end of the worker


async def test_a_drain_lets_short_jobs_end_and_takes_nothing_new(stack: Stack):
    id = stack.submit()
    await stack.until(lambda: stack.engine.open_ids)
    draining = asyncio.create_task(stack.worker.drain(5))
    await stack.quiet()
    late = stack.submit()
    stack.engine.finish(id)
    await draining
    assert stack.acked == [0]
    assert stack.state(late) is None
    assert late not in stack.engine.opened


async def test_a_drain_hands_back_what_does_not_end(stack: Stack):
    id, queued = stack.submit(), stack.submit(lane=Lane.BATCH)
    await stack.until(lambda: len(stack.engine.open_ids) == 2)
    await stack.worker.drain(0.01)
    assert sorted(stack.engine.cancelled) == sorted([id, queued])
    assert stack.records.attempts(*id) == 0
    assert stack.acked == []
    assert stack.told() == []


async def test_diarization_switched_off_leaves_jobs_queued(tmp_path: Path):
    stack = await Stack(tmp_path, enable_diarization=False).start()
    id = stack.submit()
    await stack.quiet()
    assert stack.engine.opened == []
    assert stack.acked == []
    await cancel(stack, id)
    await stack.until(lambda: stack.acked == [0])
    await stack.worker.close()


async def test_outcomes_of_jobs_that_are_not_here_are_left(stack: Stack):
    stack.engine.say(finished(("nobody", "live")))
    stack.engine.say(Failed(("nobody", "live"), AudioUnreadable().info))
    id = stack.submit()
    await stack.until(lambda: stack.engine.open_ids)
    stack.engine.finish(id)
    await stack.until(lambda: stack.acked == [0])
    assert len(stack.told()) == 1

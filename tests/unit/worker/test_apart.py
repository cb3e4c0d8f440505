"""A worker apart from the live group: what it computes, and what of the live group it leaves alone."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from processor.apart import Apart
from schemas.errors import EngineCrashed, EngineOutOfMemory, InternalError, ReplayRefused
from schemas.jobs import LIVE_RUN, Job, JobState, Lane
from schemas.topics import Topic
from tests.support.lone_worker import LAYOUT, LoneWorker
from tests.support.worker import accept, job_event, new_job
from turnstream.bus.base import Position, Record
from turnstream.bus.memory import MemoryBus
from turnstream.object_store.memory import MemoryStore
from turnstream.records import MarkState, Records, RunRequest
from turnstream.settings import Settings

RUN = "v2"
APART = Apart("again", RUN, datetime.now(UTC) - timedelta(hours=1))


@pytest.fixture
async def lone(tmp_path: Path) -> AsyncIterator[LoneWorker]:
    lone = LoneWorker(tmp_path)
    lone.apart = APART
    lone.start_over()
    await lone.start()
    yield lone
    await lone.worker.close()


def past(lone: LoneWorker, ended: JobState | None = JobState.SUCCEEDED) -> Job:
    """A job that the live group has done."""
    job = accept(lone.records, new_job())
    if ended is JobState.CANCELLED:
        lone.records.put_cancelled(job.id, LIVE_RUN)
    elif ended is not None:
        lone.records.put_error(job.id, LIVE_RUN, EngineCrashed().info)
    if ended is not None:
        lone.records.remove_mark(job.id, LIVE_RUN)
    return job


async def opened(lone: LoneWorker, job: Job) -> tuple[str, str]:
    await lone.until(lambda: (job.id, RUN) in lone.engine.open_ids)
    return job.id, RUN


async def test_a_job_is_computed_under_the_run_and_its_end_is_told(lone: LoneWorker) -> None:
    job = past(lone)
    offset = lone.receive(job_event(job))
    id = await opened(lone, job)
    mark = lone.records.mark(*id)
    assert mark is not None
    assert (mark.state, mark.group, mark.offset) == (MarkState.QUEUED, "again", offset)
    assert lone.records.job_of_run(*id).lane is Lane.BATCH
    lone.engine.finish(id)
    await lone.until(lambda: lone.acked == [offset])
    assert lone.state(id) is JobState.SUCCEEDED
    assert lone.state((job.id, LIVE_RUN)) is JobState.FAILED, "the first run stays as it was"
    assert [event.id for event in lone.told()] == [f"{job.id}/{RUN}"]
    assert lone.records.mark(*id) is None


async def test_a_live_run_that_is_still_pending_keeps_its_mark(lone: LoneWorker) -> None:
    job = past(lone, None)
    before = lone.records.mark(job.id, LIVE_RUN)
    lone.receive(job_event(job))
    lone.engine.finish(await opened(lone, job))
    await lone.until(lambda: lone.acked)
    assert lone.records.mark(job.id, LIVE_RUN) == before
    assert lone.records.outcome(job.id, LIVE_RUN) is None


async def test_what_is_none_of_ours_is_acknowledged_and_left(lone: LoneWorker) -> None:
    job, cancelled, erased = past(lone), past(lone, JobState.CANCELLED), past(lone)
    lone.records.erase(erased.id)
    offsets = [
        lone.receive(job_event(job, "run-2")),
        lone.receive(job_event(job, RUN)),
        lone.receive(Record(Position("gpu-jobs", 0, lone.offset), b"k", b"torn")),
        lone.receive(job_event(cancelled)),
        lone.receive(job_event(erased)),
    ]
    await lone.until(lambda: sorted(lone.acked) == offsets)
    assert lone.engine.opened == []
    assert lone.told() == []
    assert lone.bus.records(Topic.JOBS_DLQ) == [], "the live group has set it aside"
    assert not [info.key for info in lone.store.list("") if RUN in info.key or erased.id in info.key]


async def test_a_copy_that_comes_later_computes_and_tells_nothing_again(lone: LoneWorker) -> None:
    job = past(lone)
    lone.receive(job_event(job))
    lone.engine.finish(await opened(lone, job))
    await lone.until(lambda: lone.acked == [0])
    lone.receive(job_event(job))
    await lone.until(lambda: lone.acked == [0, 1])
    assert len(lone.engine.opened) == 1
    assert len(lone.told()) == 1
    assert lone.records.mark(job.id, RUN) is None


async def test_who_dies_between_storing_and_telling_has_it_told_by_the_next(lone: LoneWorker) -> None:
    job = past(lone)
    lone.receive(job_event(job))
    id = await opened(lone, job)
    lone.records.put_error(*id, EngineOutOfMemory().info)  # the end is stored, and nobody has told it
    await lone.worker.close()
    lone.start_over()
    await lone.start()
    lone.receive(job_event(job), offset=0)
    await lone.until(lambda: lone.acked == [0])
    assert [event.id for event in lone.told()] == [f"{job.id}/{RUN}"]
    assert lone.engine.opened == []
    assert lone.records.mark(*id) is None


async def test_a_failure_that_may_pass_is_tried_again_here_and_not_on_the_retry_topic(lone: LoneWorker) -> None:
    job = past(lone)
    offset = lone.receive(job_event(job))
    for tries in range(1, 4):
        id = await opened(lone, job)
        assert len(lone.engine.opened) == tries
        assert lone.acked == [], "not before its end"
        lone.engine.fail(id, InternalError("odd").info)
        await lone.until(lambda tries=tries: len(lone.engine.opened) > tries)
    lone.engine.finish(await opened(lone, job))
    await lone.until(lambda: lone.acked == [offset])
    assert lone.state((job.id, RUN)) is JobState.SUCCEEDED
    assert lone.bus.records(Topic.JOBS_RETRY) == []
    assert len(lone.bus.records(Topic.JOBS)) == 0


async def test_copies_wait_together_for_the_next_try(lone: LoneWorker) -> None:
    job = past(lone)
    offsets = [lone.receive(job_event(job)), lone.receive(job_event(job))]
    id = await opened(lone, job)
    lone.engine.fail(id, InternalError("odd").info)
    await lone.until(lambda: len(lone.engine.opened) == 2)
    lone.engine.finish(id)
    await lone.until(lambda: sorted(lone.acked) == offsets)
    assert len(lone.told()) == 1


async def test_a_run_that_fails_for_good_is_told_and_no_dead_letter_is_written(lone: LoneWorker) -> None:
    job = past(lone)
    lone.receive(job_event(job))
    lone.engine.fail(await opened(lone, job), EngineOutOfMemory().info)
    while not lone.acked:  # it may be tried again first
        await lone.quiet()
        for id in tuple(lone.engine.open_ids):
            lone.engine.fail(id, EngineOutOfMemory().info)
    assert lone.state((job.id, RUN)) is JobState.FAILED
    assert [event.id for event in lone.told()] == [f"{job.id}/{RUN}"]
    assert lone.bus.records(Topic.JOBS_DLQ) == []


async def test_a_run_can_be_cancelled_while_it_waits_for_its_next_try(tmp_path: Path) -> None:
    lone = LoneWorker(tmp_path, retry_delays=(3600.0, 3600.0, 3600.0))
    lone.apart = APART
    lone.start_over()
    await lone.start()
    job = past(lone)
    lone.receive(job_event(job))
    id = await opened(lone, job)
    lone.engine.fail(id, InternalError("odd").info)
    await lone.until(lambda: not lone.worker._bench.held)
    lone.records.put_cancelled(*id)
    await lone.cancel(id)
    await lone.until(lambda: lone.acked)
    assert lone.state(id) is JobState.CANCELLED
    assert len(lone.told()) == 1
    await lone.worker.close()


async def test_a_name_that_was_taken_stands_for_what_it_was_taken_for(lone: LoneWorker) -> None:
    job = past(lone)
    theirs = RunRequest(params={"num_speakers": 3}, created_at=datetime.now(UTC), lane=Lane.BATCH)
    lone.records.request_run(job.id, RUN, theirs)
    lone.receive(job_event(job))
    await opened(lone, job)
    assert lone.engine.tasks[0].params == {"num_speakers": 3}


# How a group sets out


async def test_a_group_begins_once_where_its_first_worker_said() -> None:
    bus, records = MemoryBus(), Records(MemoryStore())
    await bus.ensure_topics(LAYOUT.topics())
    await bus.publish(Topic.JOBS, key=b"k", value=b"old", partition=0)
    now = datetime.now(UTC) + timedelta(seconds=5)
    await Apart("again", RUN, now).set_out(bus, records)
    reach = await bus.reach(Topic.JOBS, "again")
    assert reach[0].committed == 1
    assert {each.committed for number, each in reach.items() if number} == {0}
    await Apart("again", RUN, now - timedelta(hours=1)).set_out(bus, records)
    assert (await bus.reach(Topic.JOBS, "again"))[0].committed == 1, "it goes on"
    with pytest.raises(ReplayRefused, match="another group"):
        await Apart("again", "v3", now).set_out(bus, records)


async def test_a_broker_that_was_emptied_is_begun_anew_at_the_same_time() -> None:
    bus, records = MemoryBus(), Records(MemoryStore())
    await bus.ensure_topics(LAYOUT.topics())
    await APART.set_out(bus, records)
    bus.forget()
    await bus.ensure_topics(LAYOUT.topics())
    await Apart("again", RUN, datetime.now(UTC) + timedelta(hours=1)).set_out(bus, records)
    await bus.publish(Topic.JOBS, key=b"k", value=b"v", partition=0)
    assert (await bus.reach(Topic.JOBS, "again"))[0].committed == 0


@pytest.mark.parametrize(
    ("group", "run", "since"),
    [("a b", "v2", "2h"), ("", "v2", "2h"), ("g", "V2", "2h"), ("g", "live", "2h"), ("g", "v2", "soon")],
)
def test_what_cannot_be_is_refused(group: str, run: str, since: str) -> None:
    with pytest.raises(ReplayRefused):
        Apart.of(group, run, since)


def test_the_live_group_and_the_embedded_broker_are_refused(tmp_path: Path) -> None:
    kafka = Settings(_env_file=None, data_dir=tmp_path, broker="kafka", kafka_bootstrap_servers="k:9092")
    with pytest.raises(ReplayRefused, match="live group"):
        Apart.of(kafka.consumer_group, RUN, "2h").settings(kafka)
    with pytest.raises(ReplayRefused, match="Apache Kafka"):
        APART.settings(Settings(_env_file=None, data_dir=tmp_path))
    ours = Apart.of("Again_1", RUN, "2h").settings(kafka)
    assert (ours.consumer_group, ours.worker_name) == ("Again_1", "worker.again-1")
    assert ours.instance != kafka.instance

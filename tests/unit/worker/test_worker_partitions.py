"""Partitions come and go, and so does the worker."""

import asyncio
from pathlib import Path

from processor.engines.base import Failed
from schemas.errors import AudioUnreadable, EngineCrashed, EngineFailed
from schemas.jobs import JobState, Lane
from tests.support.lone_worker import LoneWorker
from tests.support.worker import accept, finished, job_event, new_job


async def test_a_rebalance_drops_what_waits_and_adopts_what_is_open(stack: LoneWorker):
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


async def test_a_job_that_ends_between_two_assignments_is_only_acknowledged_later(stack: LoneWorker):
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


async def test_an_open_job_of_a_lost_partition_goes_on_to_its_end(stack: LoneWorker):
    id = stack.submit()
    await stack.until(lambda: stack.engine.open_ids)
    stack.worker.revoked()
    stack.worker.assigned({5})
    await stack.quiet()
    assert stack.engine.open_ids == [id]
    assert stack.records.attempts(*id).count == 1
    stack.engine.finish(id)
    await stack.until(lambda: stack.records.mark(*id) is None)
    assert stack.state(id) is JobState.SUCCEEDED
    assert stack.acked == []  # that is for whoever has the record now


async def test_a_worker_that_loses_all_partitions_ends_what_it_has_open(stack: LoneWorker):
    id = stack.submit()
    await stack.until(lambda: stack.engine.open_ids)
    stack.worker.revoked()
    stack.worker.assigned(set())
    late = stack.submit()
    stack.engine.finish(id)
    await stack.until(lambda: stack.state(id) is JobState.SUCCEEDED)
    assert late not in stack.engine.opened


async def test_the_record_of_an_open_job_that_comes_back_joins_it(stack: LoneWorker):
    job = accept(stack.records, new_job())
    stack.receive(job_event(job), 0)
    await stack.until(lambda: stack.engine.open_ids)
    stack.worker.revoked()
    stack.worker.assigned({5})
    stack.worker.revoked()
    stack.worker.assigned({0, 5})
    stack.receive(job_event(job), 0)
    stack.engine.finish((job.id, "live"))
    await stack.until(lambda: stack.acked == [0])
    assert stack.engine.opened == [(job.id, "live")]
    assert len(stack.told()) == 1


async def test_an_operator_s_failure_after_its_partition_moved_is_left_to_the_new_owner(stack: LoneWorker):
    id = stack.submit()
    await stack.until(lambda: stack.engine.open_ids)
    stack.worker.revoked()
    stack.worker.assigned({5})
    stack.engine.fail(id, EngineFailed("not this time").info)
    await stack.until(lambda: stack.records.attempts(*id).worker is None)
    await stack.quiet()
    assert stack.records.attempts(*id).count == 1  # the other one opens it at once, and knows of this try
    assert stack.bus.records("gpu-jobs.retry") == []
    assert stack.state(id) is None


async def test_a_job_that_kills_the_engine_after_its_partition_moved_has_had_its_try(stack: LoneWorker):
    id = stack.submit()
    await stack.until(lambda: stack.engine.open_ids)
    stack.worker.revoked()
    stack.worker.assigned({5})
    stack.engine.die(EngineCrashed("bang").info)
    await stack.quiet()
    assert stack.records.attempts(*id).count == 1
    assert stack.engine.opened == [id]


async def test_a_stage_that_ends_after_its_partition_moved_is_kept_and_the_rest_left_to_the_new_owner(
    stack: LoneWorker,
):
    job = accept(stack.records, new_job(operation="transcript"))
    id = job.id, "live"
    stack.receive(job_event(job), 0)
    await stack.until(lambda: stack.engine.open_ids)
    stack.worker.revoked()
    stack.worker.assigned({5})
    stack.engine.finish(id)
    await stack.until(lambda: stack.records.attempts(*id).worker is None)
    assert stack.records.stage(*id, "diarize") is not None
    assert stack.records.attempts(*id).of("transcribe", retries=0) == 0
    stack.worker.revoked()
    stack.worker.assigned({0})
    stack.receive(job_event(job), 0)
    await stack.until(lambda: len(stack.engine.opened) == 2)
    assert [task.model for task in stack.engine.tasks] == ["diarize", "transcribe"]


async def test_a_job_on_its_way_into_the_engine_is_handed_back_when_its_partition_moved(stack: LoneWorker):
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
    assert stack.records.attempts(job.id, "live").count == 0


async def test_a_full_partition_is_paused(stack: LoneWorker):
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


async def test_a_drain_lets_short_jobs_end_and_takes_nothing_new(stack: LoneWorker):
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


async def test_a_drain_hands_back_what_does_not_end(stack: LoneWorker):
    id, queued = stack.submit(), stack.submit(lane=Lane.BATCH)
    await stack.until(lambda: len(stack.engine.open_ids) == 2)
    await stack.worker.drain(0.01)
    assert sorted(stack.engine.cancelled) == sorted([id, queued])
    assert stack.records.attempts(*id).count == 0
    assert stack.acked == []
    assert stack.told() == []


async def test_diarization_switched_off_leaves_jobs_queued(tmp_path: Path):
    stack = await LoneWorker(tmp_path, enable_diarization=False).start()
    id = stack.submit()
    await stack.quiet()
    assert stack.engine.opened == []
    assert stack.acked == []
    await stack.cancel(id)
    await stack.until(lambda: stack.acked == [0])
    await stack.worker.close()


async def test_outcomes_of_jobs_that_are_not_here_are_left(stack: LoneWorker):
    stack.engine.say(finished(("nobody", "live")))
    stack.engine.say(Failed(("nobody", "live"), AudioUnreadable().info))
    id = stack.submit()
    await stack.until(lambda: stack.engine.open_ids)
    stack.engine.finish(id)
    await stack.until(lambda: stack.acked == [0])
    assert len(stack.told()) == 1

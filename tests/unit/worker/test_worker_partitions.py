"""Partitions come and go, and so does the worker."""

import asyncio
from pathlib import Path

from processor.engines.base import Failed
from schemas.errors import AudioUnreadable, EngineCrashed
from schemas.jobs import Lane
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


async def test_open_jobs_of_a_lost_partition_are_handed_back(stack: LoneWorker):
    id = stack.submit()
    await stack.until(lambda: stack.engine.open_ids)
    stack.worker.revoked()
    stack.worker.assigned({5})
    await stack.until(lambda: stack.engine.cancelled == [id])
    await stack.until(lambda: stack.records.attempts(*id).count == 0)
    assert stack.acked == []


async def test_while_partitions_move_the_tries_of_open_jobs_do_not_count(stack: LoneWorker):
    moves, stays = accept(stack.records, new_job()), accept(stack.records, new_job())
    stack.receive(job_event(moves), partition=0)
    stack.receive(job_event(stays), partition=5)
    await stack.until(lambda: len(stack.engine.open_ids) == 2)
    stack.worker.revoked()
    await stack.worker.lend()
    # Whoever gets one of them now looks at a run that was never tried, and does not take it for one that kills workers.
    assert [stack.records.attempts(job.id, "live").count for job in (moves, stays)] == [0, 0]
    stack.worker.assigned({5})
    await stack.until(lambda: stack.engine.cancelled == [(moves.id, "live")])
    await stack.until(lambda: stack.records.attempts(stays.id, "live").count == 1)
    assert stack.records.attempts(moves.id, "live").count == 0


async def test_a_job_whose_partition_comes_back_while_it_is_handed_back_is_opened_again(stack: LoneWorker):
    job = accept(stack.records, new_job())
    stack.receive(job_event(job), 0)
    await stack.until(lambda: stack.engine.open_ids)
    stack.store.break_down()  # holds it where its try is given back
    stack.worker.revoked()
    stack.worker.assigned({5})
    await stack.quiet()
    stack.worker.revoked()
    stack.worker.assigned({0})
    stack.receive(job_event(job), 0)
    stack.store.mend()
    await stack.until(lambda: len(stack.engine.opened) == 2)
    assert stack.records.attempts(job.id, "live").count == 1
    stack.engine.finish((job.id, "live"))
    await stack.until(lambda: stack.acked == [0])


async def test_two_rebalances_in_a_row_give_back_one_try(stack: LoneWorker):
    id = stack.submit()
    await stack.until(lambda: stack.engine.open_ids)
    for _ in range(2):
        stack.worker.revoked()
        await stack.worker.lend()
        assert stack.records.attempts(*id).count == 0
    stack.worker.assigned({0})
    await stack.until(lambda: stack.records.attempts(*id).count == 1)


async def test_a_job_that_kills_the_engine_while_partitions_move_has_had_its_try(stack: LoneWorker):
    id = stack.submit()
    await stack.until(lambda: stack.engine.open_ids)
    stack.worker.revoked()
    await stack.worker.lend()
    stack.engine.die(EngineCrashed("bang").info)
    await stack.until(lambda: stack.records.attempts(*id).count == 1)


async def test_a_stage_that_ends_while_partitions_move_leaves_the_next_one_a_try_of_its_own(stack: LoneWorker):
    job = accept(stack.records, new_job(operation="transcript"))
    id = job.id, "live"
    stack.receive(job_event(job), 0)
    await stack.until(lambda: stack.engine.open_ids)
    stack.worker.revoked()
    await stack.worker.lend()
    stack.store.break_down()  # holds it where the stage is kept
    stack.engine.finish(id)
    await stack.quiet()
    stack.worker.assigned({0})
    stack.receive(job_event(job), 0)
    stack.store.mend()
    await stack.until(lambda: len(stack.engine.opened) == 2)
    assert [task.model for task in stack.engine.tasks] == ["diarize", "transcribe"]
    assert stack.records.attempts(*id).count == 1
    stack.worker.revoked()
    stack.worker.assigned({5})
    await stack.until(lambda: stack.records.attempts(*id).count == 0)


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

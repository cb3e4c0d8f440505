"""What is lost on its way is published again, what was never accepted goes, and all else is left alone."""

from datetime import UTC, datetime, timedelta

import pytest

from producer_api import broker_watch
from producer_api.sweep import LEASE, Action, End, Kept, Limits, decide
from schemas.events import JOB_REQUESTED, Event
from schemas.jobs import JobRequested, Lane
from schemas.topics import Topic
from tests.support.api import complete, until
from turnstream.bus.base import Position, Reach
from turnstream.bus.memory import MemoryBus
from turnstream.object_store.memory import MemoryStore
from turnstream.records import ERASURE, Mark, MarkState, RunRequest, Witness

NOW = datetime.now(UTC)
BEFORE = NOW - timedelta(seconds=900)
GROUP = "turnstream"


def accepting(age: float) -> Mark:
    return Mark(state=MarkState.ACCEPTING, at=NOW - timedelta(seconds=age))


def queued(offset: int = 5, topic_id: str = "now", topic: str = Topic.JOBS) -> Mark:
    return Mark(state=MarkState.QUEUED, at=NOW, topic=topic, topic_id=topic_id, partition=0, offset=offset)


HERE, LOST_ID, RETRIED = queued(), queued(topic_id="before"), queued(topic=Topic.JOBS_RETRY)
OLD_RETRY = RETRIED.model_copy(update={"at": BEFORE - timedelta(seconds=1)})


@pytest.mark.parametrize(
    "mark, end, reach, action",
    [
        # a submission under way, and one that will never end
        (accepting(age=0), End.NONE, None, Action.LEAVE),
        (accepting(age=899), End.TOLD, None, Action.LEAVE),
        (accepting(age=901), End.NONE, None, Action.ERASE),
        (accepting(age=901), End.TOLD, None, Action.REMOVE_MARK),
        (accepting(age=899), End.UNTOLD, None, Action.LEAVE),
        (accepting(age=901), End.UNTOLD, None, Action.PUBLISH),
        # an erasure under way, and one that was interrupted
        (accepting(age=899).model_copy(update={"state": MarkState.ERASING}), End.NONE, None, Action.LEAVE),
        (accepting(age=901).model_copy(update={"state": MarkState.ERASING}), End.NONE, None, Action.ERASE),
        (accepting(age=901).model_copy(update={"state": MarkState.ERASING}), End.TOLD, None, Action.ERASE),
        # waiting its turn, however long
        (HERE, End.NONE, Reach(low=0, committed=None), Action.LEAVE),
        (HERE, End.NONE, Reach(low=0, committed=0), Action.LEAVE),
        (HERE, End.NONE, Reach(low=5, committed=5), Action.LEAVE),
        (HERE, End.TOLD, Reach(low=0, committed=5), Action.LEAVE),
        # passed by the workers
        (HERE, End.NONE, Reach(low=0, committed=6), Action.PUBLISH),
        (HERE, End.TOLD, Reach(low=0, committed=6), Action.REMOVE_MARK),
        # lost by the broker
        (HERE, End.NONE, Reach(low=6, committed=9), Action.PUBLISH),
        (HERE, End.TOLD, Reach(low=6, committed=9), Action.PUBLISH),
        (LOST_ID, End.NONE, Reach(low=0, committed=None), Action.PUBLISH),
        (LOST_ID, End.TOLD, Reach(low=0, committed=9), Action.PUBLISH),
        (HERE, End.NONE, None, Action.PUBLISH),
        (Mark(state=MarkState.QUEUED, at=NOW, topic_id="now", partition=0), End.NONE, Reach(0, None), Action.PUBLISH),
        # waiting for its next try
        (RETRIED, End.NONE, Reach(low=0, committed=5), Action.LEAVE),
        (RETRIED, End.NONE, Reach(low=0, committed=6), Action.PUBLISH),
        (RETRIED, End.TOLD, Reach(low=0, committed=6), Action.REMOVE_MARK),
        # waiting for a retry that never came to be: whoever moved the mark died too early
        (RETRIED, End.TOLD, Reach(low=0, committed=None), Action.LEAVE),
        (OLD_RETRY, End.NONE, Reach(low=0, committed=None), Action.LEAVE),
        (OLD_RETRY, End.TOLD, Reach(low=0, committed=None), Action.REMOVE_MARK),
    ],
)
def test_what_is_decided(mark, end, reach, action):
    kept = Kept("now", {} if reach is None else {0: reach})
    limits = Limits(accepted=BEFORE, retried=BEFORE)
    assert decide(mark, end, kept=kept, limits=limits) is action


def published(api) -> list[str]:
    events = [Event.parse(record.headers, record.value) for record in api.bus.records(Topic.JOBS)]
    return [event.read(JOB_REQUESTED, JobRequested).job_id for event in events]


async def test_a_backlog_alone_publishes_nothing(api, blip):
    ids = [await api.new_job(blip) for _ in range(20)]
    done = await api.service.sweeper.sweep()
    assert done == {Action.LEAVE: 20}
    assert sorted(published(api)) == sorted(ids)


async def test_what_the_workers_passed_without_an_end_is_published_again(api, blip):
    job_id = await api.new_job(blip)
    mark = api.records.mark(job_id, "live")
    api.bus.commit(GROUP, Topic.JOBS, mark.partition, mark.offset + 1)
    assert (await api.service.sweeper.sweep())[Action.PUBLISH] == 1
    assert published(api) == [job_id, job_id]
    assert api.records.mark(job_id, "live").offset == mark.offset + 1
    first, second = api.bus.records(Topic.JOBS)
    assert dict(first.headers)["ce_id"] == dict(second.headers)["ce_id"]
    assert (await api.service.sweeper.sweep()) == {Action.LEAVE: 1}


async def retried(api, blip, attempt: int) -> tuple[str, Position]:
    """A job whose failure may pass, as a worker leaves it: its first record is done with, its mark names the retry."""
    job_id = await api.new_job(blip)
    mark = api.records.mark(job_id, "live")
    headers = (("attempt", b"%d" % attempt), ("not_before", b"9999999999"))
    first = api.bus.records(Topic.JOBS)[-1]
    at = await api.bus.publish(
        Topic.JOBS_RETRY, key=first.key, value=first.value, headers=(*first.headers, *headers), partition=1
    )
    moved = {"topic": at.topic, "topic_id": await api.bus.topic_id(at.topic), "partition": 1, "offset": at.offset}
    api.records.put_mark(job_id, "live", mark.model_copy(update={**moved, "attempt": attempt}))
    api.bus.commit(GROUP, Topic.JOBS, mark.partition, mark.offset + 1)
    return job_id, at


async def test_a_run_that_waits_for_its_next_try_is_left_alone(api, blip):
    job_id, _ = await retried(api, blip, attempt=2)
    assert (await api.service.sweeper.sweep()) == {Action.LEAVE: 1}
    assert published(api) == [job_id]


@pytest.mark.parametrize("lost", ["passed", "forgotten"])
async def test_a_retry_that_was_lost_keeps_its_number(api, blip, lost):
    job_id, at = await retried(api, blip, attempt=2)
    if lost == "passed":
        api.bus.commit(GROUP, at.topic, at.partition, at.offset + 1)
    else:
        mark = api.records.mark(job_id, "live")
        api.records.put_mark(job_id, "live", mark.model_copy(update={"topic_id": "before"}))
    assert (await api.service.sweeper.sweep()) == {Action.PUBLISH: 1}
    assert published(api) == [job_id, job_id]
    assert dict(api.bus.records(Topic.JOBS)[-1].headers)["attempt"] == b"2"
    mark = api.records.mark(job_id, "live")
    assert (mark.topic, mark.attempt, mark.offset) == (Topic.JOBS, 2, 1)
    assert (await api.service.sweeper.sweep()) == {Action.LEAVE: 1}


async def test_a_first_try_says_nothing_of_retries(api, blip):
    await api.new_job(blip)
    assert "attempt" not in dict(api.bus.records(Topic.JOBS)[0].headers)


async def test_a_run_that_ends_while_it_is_published_again_keeps_no_mark(api, blip):
    job_id = await api.new_job(blip)
    mark = api.records.mark(job_id, "live")
    api.bus.commit(GROUP, Topic.JOBS, mark.partition, mark.offset + 1)
    publish = api.bus.publish

    async def publish_and_end(topic, **record):  # a worker that is quicker than the sweep
        position = await publish(topic, **record)
        api.bus.publish = publish
        await complete(api, job_id)
        return position

    api.bus.publish = publish_and_end
    assert (await api.service.sweeper.sweep()) == {Action.PUBLISH: 1}
    assert api.records.mark(job_id, "live") is None


async def test_of_a_mark_that_waits_or_is_lost_only_the_mark_is_read(api, blip):
    """A hundred thousand of them must not take minutes."""
    await api.new_job(blip)
    asked: list[str] = []
    ended = api.records.ended
    api.records.ended = lambda *id: asked.append(id) or ended(*id)
    await api.service.sweeper.sweep()
    assert asked == []


def witness(mark: Mark) -> Witness:
    """Of whoever told the end of the run with the record that its mark names."""
    return Witness.at(mark.topic, mark.topic_id, mark.partition, mark.offset, mark.attempt)


async def test_an_end_that_nobody_is_known_to_have_told_is_published_again(api, blip):
    """The workers passed the record that the mark names: a retry that was taken back may have had its place."""
    job_id = await api.new_job(blip)
    mark = api.records.mark(job_id, "live")
    api.records.put_cancelled(job_id, "live")
    api.bus.commit(GROUP, Topic.JOBS, mark.partition, mark.offset + 1)
    assert (await api.service.sweeper.sweep()) == {Action.PUBLISH: 1}


async def test_a_mark_of_a_retry_that_never_came_to_be_goes_with_its_run(api, blip):
    job_id = await api.new_job(blip)
    first = api.records.mark(job_id, "live")
    retry_id = await api.bus.topic_id(Topic.JOBS_RETRY)
    never = Mark.queued(Topic.JOBS_RETRY, retry_id, 0, 0, 0).model_copy(update={"at": NOW - timedelta(days=1)})
    await complete(api, job_id)
    api.records.add_witness(job_id, "live", witness(first))
    api.records.put_mark(job_id, "live", never)
    assert (await api.service.sweeper.sweep()) == {Action.LEAVE: 1}
    api.bus.commit(GROUP, Topic.JOBS, first.partition, first.offset + 1)
    await api.bus.publish(Topic.JOBS_RETRY, key=None, value=b"another", headers=(), partition=0)
    assert (await api.service.sweeper.sweep()) == {Action.REMOVE_MARK: 1}


async def test_a_mark_that_outlived_its_run_goes(api, blip):
    job_id = await api.new_job(blip)
    mark = api.records.mark(job_id, "live")
    await complete(api, job_id)
    api.records.add_witness(job_id, "live", witness(mark))
    api.records.put_mark(job_id, "live", mark)
    api.bus.commit(GROUP, Topic.JOBS, mark.partition, mark.offset + 1)
    assert (await api.service.sweeper.sweep()) == {Action.REMOVE_MARK: 1}
    assert api.records.mark(job_id, "live") is None
    assert published(api) == [job_id]


async def test_a_submission_that_never_ended_is_erased(api, blip):
    old, young = await api.new_job(blip), await api.new_job(blip)
    at = datetime.now(UTC)
    api.records.put_mark(old, "live", Mark(state=MarkState.ACCEPTING, at=at - timedelta(seconds=901)))
    api.records.put_mark(young, "live", Mark(state=MarkState.ACCEPTING, at=at))
    assert (await api.service.sweeper.sweep()) == {Action.ERASE: 1, Action.LEAVE: 1}
    assert not [key for key in api.kept() if old in key]
    assert api.records.job(young)


async def test_a_submission_whose_end_nobody_told_is_published_again(api, blip):
    """The API died before it noted the record, the worker before it told the end: without the mark nobody would tell it."""
    job_id = await api.new_job(blip)
    mark = api.records.mark(job_id, "live")
    await complete(api, job_id)
    api.records.add_witness(job_id, "live", witness(mark))
    api.records.put_mark(job_id, "live", accepting(age=901))
    assert (await api.service.sweeper.sweep()) == {Action.PUBLISH: 1}
    assert published(api) == [job_id, job_id]
    assert api.records.mark(job_id, "live").state is MarkState.QUEUED
    api.records.put_mark(job_id, "live", accepting(age=901))
    api.bus.commit(GROUP, Topic.JOBS, mark.partition, mark.offset + 1)
    assert (await api.service.sweeper.sweep()) == {Action.REMOVE_MARK: 1}


async def test_an_erasure_that_was_interrupted_is_ended(api, blip):
    """Also where a worker has moved or removed the mark of the run."""
    long_ago = datetime.now(UTC) - timedelta(days=1)
    moved, removed = [await api.new_job(blip) for _ in range(2)]
    for job_id in (moved, removed):
        api.store.delete(f"jobs/{job_id}/job.json")
        api.records.put_mark(job_id, ERASURE, Mark(state=MarkState.ERASING, at=long_ago))
    api.records.remove_mark(removed, "live")
    assert (await api.service.sweeper.sweep())[Action.ERASE] == 2
    assert not [key for key in api.kept() if not key.startswith("index/")]
    assert len(published(api)) == 2


async def test_a_replay_that_was_never_published_does_not_cost_the_job(api, blip):
    job_id = await api.new_job(blip)
    await complete(api, job_id)
    long_ago = datetime.now(UTC) - timedelta(days=1)
    api.records.put_mark(job_id, "again", Mark(state=MarkState.ACCEPTING, at=long_ago))
    await api.service.sweeper.sweep()
    assert api.records.mark(job_id, "again") is None
    assert api.records.ending(job_id, "live")


async def test_a_mark_of_an_erased_job_goes(api, blip):
    job_id = await api.new_job(blip)
    mark = api.records.mark(job_id, "live")
    api.records.erase(job_id)
    api.records.put_mark(job_id, "live", mark.model_copy(update={"topic_id": "before"}))
    await api.service.sweeper.sweep()
    assert api.kept() == []
    assert published(api) == [job_id]


async def test_a_broker_that_lost_everything_gets_it_again_at_once(start, blip, monkeypatch):
    monkeypatch.setattr(broker_watch, "CHECK_INTERVAL", 0.01)
    async with start() as api:
        ids = [await api.new_job(blip) for _ in range(3)]
        done = await api.new_job(blip)
        await complete(api, done)
        api.bus.forget()
        await until(lambda: len(api.bus.records(Topic.JOBS)) == 3)
        new_id = await api.bus.topic_id(Topic.JOBS)
        await until(lambda: all(api.records.mark(job_id, "live").topic_id == new_id for job_id in ids))
        assert sorted(published(api)) == sorted(ids)


class _ForgetfulBus(MemoryBus):
    """Loses everything just after it took the first job, and the sweep that follows comes before the mark is written."""

    api = None
    forgot = False

    async def publish(self, topic, **record):
        position = await super().publish(topic, **record)
        if topic == Topic.JOBS and not self.forgot:
            self.forgot = True
            before = self.api.service.watch.topic_id
            self.forget()
            await until(lambda: self.api.service.watch.topic_id != before)
            await until(lambda: not self.api.service.sweeper._wake.is_set())
            assert (await self.api.service.sweeper.sweep()) == {Action.LEAVE: 1}
        return position


async def test_a_job_that_was_lost_before_its_mark_was_written_is_published_again(start, blip, monkeypatch):
    monkeypatch.setattr(broker_watch, "CHECK_INTERVAL", 0.01)
    bus = _ForgetfulBus()
    async with start(bus=bus) as api:
        bus.api = api
        job_id = await api.new_job(blip)
        await until(lambda: published(api) == [job_id])


async def test_what_was_pending_is_looked_at_when_the_service_starts(start, blip):
    store = MemoryStore()
    async with start(store=store) as api:
        job_id = await api.new_job(blip)
    async with start(store=store) as api:  # with another broker
        await until(lambda: published(api) == [job_id])


async def test_the_sweep_comes_again_after_its_interval(start, blip):
    async with start(sweep_interval=0.02) as api:
        job_id = await api.new_job(blip)
        mark = api.records.mark(job_id, "live")
        api.bus.commit(GROUP, Topic.JOBS, mark.partition, mark.offset + 1)
        await until(lambda: published(api) == [job_id, job_id])


async def test_only_one_process_sweeps(api, blip):
    await until(lambda: list(api.store.list("leases/")))
    assert api.records.take_lease(LEASE, "another process", 60) is False
    api.store.delete(f"leases/{LEASE}")
    assert api.records.take_lease(LEASE, "another process", 60)
    assert await api.service.sweeper.sweep() is None


async def test_a_service_that_stops_gives_its_lease_back(start):
    store = MemoryStore()
    async with start(store=store) as api:
        await api.service.sweeper.sweep()
        assert list(store.list("leases/"))
    assert not list(store.list("leases/"))


async def test_one_damaged_mark_or_job_does_not_stop_the_sweep(api, blip):
    damaged, lost = await api.new_job(blip), await api.new_job(blip)
    for job_id in (damaged, lost):
        mark = api.records.mark(job_id, "live")
        api.records.put_mark(job_id, "live", mark.model_copy(update={"topic_id": "before"}))
    api.store.put(f"jobs/{damaged}/job.json", b"{}")
    assert (await api.service.sweeper.sweep()) == {Action.LEAVE: 1, Action.PUBLISH: 1}
    assert published(api)[2:] == [lost]


async def test_a_sweep_that_fails_is_tried_again(start, blip):
    async with start(sweep_interval=0.02) as api:
        job_id = await api.new_job(blip)
        mark = api.records.mark(job_id, "live")
        api.bus.commit(GROUP, Topic.JOBS, mark.partition, mark.offset + 1)
        api.store.break_down()
        api.bus.break_down()
        api.service.sweeper.wake()
        api.store.mend()
        api.bus.mend()
        await until(lambda: published(api)[:2] == [job_id, job_id])


@pytest.mark.parametrize(
    ("committed", "ended", "action"),
    [(0, False, Action.LEAVE), (1, False, Action.PUBLISH), (1, True, Action.REMOVE_MARK), (None, False, Action.LEAVE)],
)
async def test_a_run_of_a_group_apart_is_judged_by_that_groups_offsets(api, blip, committed, ended, action):
    job_id = await api.new_job(blip)
    await complete(api, job_id)
    [event] = api.bus.records(Topic.JOBS)
    at = event.position
    api.bus.commit(GROUP, Topic.JOBS, at.partition, at.offset + 1)  # the live group has it behind it
    if committed is not None:
        api.bus.commit("apart", Topic.JOBS, at.partition, at.offset + committed)
    request = RunRequest(params={}, created_at=NOW, lane=Lane.BATCH)
    api.records.request_run(job_id, "v2", request)
    mark = Mark.queued(at.topic, await api.bus.topic_id(Topic.JOBS), at.partition, at.offset, 0)
    api.records.put_mark(job_id, "v2", mark.model_copy(update={"group": "apart"}))
    if ended:
        api.records.put_cancelled(job_id, "v2", (witness(mark),))
    assert await api.service.sweeper.sweep() == {action: 1}
    if action is Action.PUBLISH:
        again = api.records.mark(job_id, "v2")
        assert again.group is None, "the live group has it from now on"
        assert again.partition == api.records.layout().partition(job_id, "diarize", Lane.BATCH)

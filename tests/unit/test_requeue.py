"""What dead letters asked for is asked for again: once, as a further run, on the twins of broker and store."""

from datetime import UTC, datetime

import pytest

from schemas.errors import BrokerUnavailable, EngineCrashed, LayoutMismatch
from schemas.events import JOB_REQUESTED, Event
from schemas.jobs import LIVE_RUN, Job, JobRequested
from schemas.results import DiarizationResult
from schemas.topics import DEAD_LETTER_LIMIT, Topic
from tests.support.worker import accept, finished, job_event, new_job, record_of
from turnstream.bus.base import Position, Record
from turnstream.bus.memory import MemoryBus
from turnstream.dead_letters import DeadLetter, read, set_aside
from turnstream.object_store.memory import MemoryStore
from turnstream.operations import installed
from turnstream.records import Mark, MarkState, Records, RunRequest
from turnstream.requeue import Answer, Requeue

CRASHED = EngineCrashed("boom").info


class Bench:
    def __init__(self) -> None:
        self.bus = MemoryBus()
        self.records = Records(MemoryStore())
        self.layout = self.records.agree_on_layout(2, installed())

    async def start(self) -> None:
        await self.bus.start()
        await self.bus.ensure_topics(self.layout.topics())

    def failed(self, run: str = LIVE_RUN, **params) -> Job:
        """A job of which this run has failed."""
        job = accept(self.records, new_job().model_copy(update={"params": params}))
        self.fail(job, run)
        return job

    def fail(self, job: Job, run: str) -> None:
        self.records.put_error(job.id, run, CRASHED)
        self.records.remove_mark(job.id, run)

    async def letter(self, record: Record) -> DeadLetter:
        """The record as a worker sets it aside."""
        value, headers = set_aside(self.records, record, CRASHED, 3)
        await self.bus.publish(Topic.JOBS_DLQ, key=record.key, value=value, headers=headers, partition=0)
        return read(self.bus.records(Topic.JOBS_DLQ)[-1])

    async def letter_of(self, job: Job, run: str = LIVE_RUN) -> DeadLetter:
        return await self.letter(record_of(job_event(job, run)))

    async def again(self, letter: DeadLetter) -> Answer:
        return await (await Requeue.on(self.bus, self.records)).again(letter)

    def asked(self) -> list[JobRequested]:
        return [
            Event.parse(record.headers, record.value).read(JOB_REQUESTED, JobRequested)
            for record in self.bus.records(Topic.JOBS)
        ]


@pytest.fixture
async def bench() -> Bench:
    bench = Bench()
    await bench.start()
    return bench


async def test_a_job_that_failed_is_asked_for_again_as_a_further_run(bench: Bench):
    await bench.letter(record_of(job_event(new_job())))  # so that the offset says something
    job = bench.failed(num_speakers=2)
    letter = await bench.letter_of(job)
    assert await bench.again(letter) == Answer("asked for again as run dlq-1")
    [request] = bench.asked()
    assert (request.job_id, request.run, request.params) == (job.id, "dlq-1", {"num_speakers": 2})
    [record] = bench.bus.records(Topic.JOBS)
    assert record.position.partition == bench.layout.partition(job.id, job.operation, job.lane)
    mark = bench.records.mark(job.id, "dlq-1")
    assert mark is not None
    assert (mark.state, mark.topic, mark.topic_id, mark.partition, mark.offset) == (
        MarkState.QUEUED,
        Topic.JOBS,
        await bench.bus.topic_id(Topic.JOBS),
        record.position.partition,
        record.position.offset,
    )
    assert bench.records.run_names(job.id) == [LIVE_RUN, "dlq-1"]


async def test_asked_again_it_says_how_far_the_run_is_and_does_nothing(bench: Bench):
    job = bench.failed()
    letter = await bench.letter_of(job)
    await bench.again(letter)
    assert await bench.again(letter) == Answer("already asked for again as run dlq-0: queued")
    fields = finished((job.id, "dlq-0")).result
    fields["timings"]["queue"] = 0.0
    bench.records.put_result(job.id, "dlq-0", DiarizationResult(job_id=job.id, run="dlq-0", **fields))
    bench.records.remove_mark(job.id, "dlq-0")
    assert await bench.again(letter) == Answer("already asked for again as run dlq-0: succeeded")
    assert len(bench.asked()) == 1


async def test_a_run_of_a_dead_letter_that_fails_is_asked_for_as_the_next(bench: Bench):
    job = bench.failed()
    first = await bench.letter_of(job)
    await bench.again(first)
    bench.fail(job, "dlq-0")
    second = await bench.letter_of(job, "dlq-0")
    assert await bench.again(first) == Answer("already asked for again as run dlq-0: failed")
    assert await bench.again(second) == Answer("asked for again as run dlq-1")


async def test_a_further_run_comes_again_with_its_own_parameters(bench: Bench):
    job = bench.failed(num_speakers=2)
    bench.records.request_run(job.id, "six", RunRequest(params={"num_speakers": 6}, created_at=datetime.now(UTC)))
    bench.fail(job, "six")
    await bench.again(await bench.letter_of(job, "six"))
    assert [request.params for request in bench.asked()] == [{"num_speakers": 6}]


async def test_a_broker_that_is_away_leaves_no_mark_and_the_next_try_takes_the_run_up(bench: Bench):
    job = bench.failed()
    letter = await bench.letter_of(job)
    requeue = await Requeue.on(bench.bus, bench.records)
    bench.bus.break_down()
    answer = await requeue.again(letter)
    assert not answer.done
    assert list(bench.records.pending()) == []
    bench.bus.mend()
    assert await requeue.again(letter) == Answer("asked for again as run dlq-0")
    assert bench.records.mark(job.id, "dlq-0") is not None


@pytest.mark.parametrize("marked", [False, True])
async def test_who_died_before_the_event_was_out_is_continued(bench: Bench, marked: bool):
    job = bench.failed()
    letter = await bench.letter_of(job)
    bench.records.name_successor(job.id, LIVE_RUN, "dlq-0")
    bench.records.request_run(job.id, "dlq-0", RunRequest(params={}, created_at=datetime.now(UTC)))
    if marked:
        bench.records.put_mark(job.id, "dlq-0", Mark(state=MarkState.ACCEPTING, at=datetime.now(UTC)))
    assert await bench.again(letter) == Answer("asked for again as run dlq-0")
    assert [request.run for request in bench.asked()] == ["dlq-0"]


async def test_a_worker_that_is_quicker_leaves_no_mark_behind(bench: Bench, monkeypatch):
    job = bench.failed()
    letter = await bench.letter_of(job)
    publish = bench.bus.publish

    async def publish_and_work(topic: str, **record):
        position = await publish(topic, **record)
        bench.fail(job, "dlq-0")
        return position

    monkeypatch.setattr(bench.bus, "publish", publish_and_work)
    await bench.again(letter)
    assert list(bench.records.pending()) == []


async def test_a_run_with_two_letters_is_asked_for_once(bench: Bench):
    job = bench.failed()
    first, second = [await bench.letter_of(job) for _ in range(2)]
    assert await bench.again(second) == Answer("asked for again as run dlq-1")
    assert await bench.again(first) == Answer("already asked for again as run dlq-1: queued")
    assert len(bench.asked()) == 1


async def test_a_name_that_is_taken_is_left_alone(bench: Bench):
    job = bench.failed()
    bench.records.request_run(job.id, "dlq-0", RunRequest(params={"num_speakers": 3}, created_at=datetime.now(UTC)))
    bench.fail(job, "dlq-0")
    letter = await bench.letter_of(job)
    assert await bench.again(letter) == Answer("asked for again as run dlq-0-2")
    assert await bench.again(letter) == Answer("already asked for again as run dlq-0-2: queued")
    assert [request.params for request in bench.asked()] == [{}]


async def test_what_did_not_fail_is_left_alone(bench: Bench):
    pending, cancelled, erased = accept(bench.records, new_job()), accept(bench.records, new_job()), bench.failed()
    bench.records.put_cancelled(cancelled.id, LIVE_RUN)
    bench.records.erase(erased.id)
    answers = [await bench.again(await bench.letter_of(job)) for job in (pending, cancelled, erased)]
    assert answers == [
        Answer("run live has no end yet: nothing done", done=False),
        Answer("run live was cancelled: nothing to do"),
        Answer("its job was erased: nothing to do"),
    ]
    assert bench.asked() == []
    assert [mark[0] for mark in bench.records.pending()] == [pending.id, cancelled.id]
    assert not list(bench.records.store.list(f"jobs/{erased.id}/"))


async def test_a_job_erased_meanwhile_leaves_nothing(bench: Bench, monkeypatch):
    job = bench.failed()
    letter = await bench.letter_of(job)
    request_run = bench.records.request_run

    def erased_first(*given):
        bench.records.erase(job.id)
        return request_run(*given)

    monkeypatch.setattr(bench.records, "request_run", erased_first)
    assert await bench.again(letter) == Answer("its job was erased: nothing to do")
    assert bench.asked() == []
    assert not list(bench.records.store.list(f"jobs/{job.id}/"))
    assert list(bench.records.pending()) == []


async def test_a_job_that_cannot_be_read_is_told(bench: Bench):
    job = bench.failed()
    letter = await bench.letter_of(job)
    bench.records.store.put(f"jobs/{job.id}/job.json", b"{}")
    answer = await bench.again(letter)
    assert (answer.done, "damaged" in answer.said) == (False, True)


@pytest.mark.parametrize("value", [b"\x00torn", None, b"\xff" * (DEAD_LETTER_LIMIT + 1)], ids=["torn", "null", "huge"])
async def test_what_names_no_run_goes_as_it_came_where_it_came_from_once(
    bench: Bench, value: bytes | None, monkeypatch
):
    came = Record((await bench.bus.publish(Topic.JOBS, key=b"k", value=b"x", partition=7)), b"k", value, (("x", b"1"),))
    letter = await bench.letter(came)
    sent = []
    publish = bench.bus.publish

    async def publish_any_size(topic: str, **record):
        sent.append((topic, record))
        return await publish(topic, **record | {"value": b""})

    monkeypatch.setattr(bench.bus, "publish", publish_any_size)
    assert await bench.again(letter) == Answer("published again as it came: gpu-jobs/7/1")
    assert await bench.again(letter) == Answer("already published again as it came: gpu-jobs/7/1")
    assert sent == [(Topic.JOBS, {"key": b"k", "value": value, "headers": (("x", b"1"),), "partition": 7})]


async def test_what_came_from_nowhere_is_not_sent_there(bench: Bench):
    for src in (b"", b"job-control/0/1", b"gpu-jobs.dlq/0/0"):
        await bench.bus.publish(Topic.JOBS_DLQ, key=None, value=b"x", headers=(("src", src),), partition=0)
        answer = await bench.again(read(bench.bus.records(Topic.JOBS_DLQ)[-1]))
        assert not answer.done
    assert bench.asked() == []


async def test_without_topics_there_is_nothing_to_ask():
    bus = MemoryBus()
    await bus.start()
    records = Records(MemoryStore())
    with pytest.raises(LayoutMismatch, match="no layout"):
        await Requeue.on(bus, records)
    records.agree_on_layout(1, installed())
    with pytest.raises(BrokerUnavailable, match="no topics yet"):
        await Requeue.on(bus, records)


class Killed(BaseException):
    """The process dies here."""


@pytest.mark.parametrize("named", [True, False], ids=["run", "record"])
async def test_whoever_is_killed_between_two_steps_is_continued(bench: Bench, monkeypatch, named: bool):
    """Killed before its first step, its second, and so on, until it comes through; then asked once more, without a kill."""
    steps, kill_before = 0, 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps > kill_before:
            raise Killed

    def stepped(call):
        def take(*given, **named):
            step()
            return call(*given, **named)

        return take

    publish = bench.bus.publish

    async def stepped_publish(topic: str, **record):
        step()
        return await publish(topic, **record)

    store = bench.records.store
    died = True
    while died:
        job = bench.failed()
        came = record_of(job_event(job)) if named else Record(Position("gpu-jobs", 0, 0), job.id.encode(), b"torn")
        letter = await bench.letter(came)
        with monkeypatch.context() as patch:
            patch.setattr(store, "put", stepped(store.put))
            patch.setattr(store, "delete", stepped(store.delete))
            patch.setattr(bench.bus, "publish", stepped_publish)
            steps = 0
            try:
                died = not (await bench.again(letter)).done
            except Killed:
                kill_before += 1
        assert (await bench.again(letter)).done
        assert (await bench.again(letter)).said.startswith("already")
        # Where the kill came after the event it is out twice, under the same id.
        sent = [record for record in bench.bus.records(Topic.JOBS) if record.key == job.id.encode()]
        assert 1 <= len(sent) <= 2
        if named:
            run = f"dlq-{letter.offset}"
            assert {dict(record.headers)["ce_id"].decode() for record in sent} == {f"{job.id}/{run}"}
            mark = bench.records.mark(job.id, run)
            assert mark is not None
            assert mark.state is MarkState.QUEUED
    assert kill_before == (5 if named else 2)

"""A failure that may pass: after what delay, how often, and what becomes of the run in the end."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.held import read
from processor.receipts import Receipts
from processor.retries import Retries, due_at
from schemas.errors import (
    AudioUnreadable,
    EngineFailed,
    EngineOutOfMemory,
    ErrorInfo,
    StoreUnavailable,
    WeightsUnavailable,
)
from schemas.failures import of
from schemas.jobs import JobKey, JobState
from schemas.operations import DIARIZE
from schemas.results import RunFailed
from schemas.topics import Topic
from tests.support.lone_worker import LoneWorker
from tests.support.worker import FreeFlow, accept, job_event, new_job, record_of
from turnstream.bus.base import Position, Record
from turnstream.operations import installed
from turnstream.records import Mark

Id = tuple[str, str]
DELAYS = (5.0, 60.0, 600.0)


def headers(record: Record) -> dict[str, bytes]:
    return dict(record.headers)


async def fail(stack: LoneWorker, id: Id, error: ErrorInfo) -> None:
    """The try that is next."""
    await stack.until(lambda: id in stack.engine.open_ids)
    stack.engine.fail(id, error)


# In the worker


async def put_off(stack: LoneWorker) -> JobKey:
    """A run that failed and waits in the worker for its next try."""
    id = stack.submit()
    await fail(stack, id, StoreUnavailable("full").info)
    await stack.until(lambda: stack.acked == [0])
    (record,) = stack.bus.records(Topic.JOBS_RETRY)
    stack.worker.receive(record, lambda: stack.came_back.append(0))
    return id


async def test_a_failure_that_may_pass_moves_the_run_to_its_retry(tmp_path: Path):
    stack = await LoneWorker(tmp_path, retry_delays=DELAYS).start()
    id = stack.submit()
    await fail(stack, id, StoreUnavailable("full").info)
    await stack.until(lambda: stack.acked == [0])
    (record,) = stack.bus.records(Topic.JOBS_RETRY)
    assert record.position.partition == 0
    assert headers(record)["attempt"] == b"1"
    assert headers(record)["error"] == b"store_unavailable"
    due = float(headers(record)["not_before"])
    assert DELAYS[0] <= due - stack.records.job(id[0]).created_at.timestamp()
    assert stack.state(id) is None
    assert stack.told() == []
    mark = stack.records.mark(*id)
    assert isinstance(mark, Mark)
    assert (mark.topic, mark.partition, mark.offset, mark.attempt) == (Topic.JOBS_RETRY, 0, 0, 1)
    assert mark.topic_id == await stack.bus.topic_id(Topic.JOBS_RETRY)
    assert stack.records.attempts(*id).worker is None
    await stack.worker.close()


async def test_a_retry_that_succeeds_leaves_nothing_of_the_failure(stack: LoneWorker):
    id = stack.submit()
    await fail(stack, id, StoreUnavailable("full").info)
    await stack.come_back()
    await stack.until(lambda: stack.came_back == [0])
    mark = stack.records.mark(*id)
    assert mark is not None
    assert (mark.topic, mark.attempt) == (Topic.JOBS, 1)
    await stack.until(lambda: id in stack.engine.open_ids)
    assert stack.records.attempts(*id).count == 1
    stack.engine.finish(id)
    await stack.until(lambda: stack.acked == [0, 1])
    assert stack.state(id) is JobState.SUCCEEDED
    assert len(stack.told()) == 1
    assert stack.bus.records(Topic.JOBS_DLQ) == []
    assert not stack.records.is_pending(*id)


@pytest.mark.parametrize("error", [EngineFailed("no").info, WeightsUnavailable("away").info], ids=lambda e: e.code)
async def test_after_the_last_retry_the_run_fails_and_its_event_is_kept(stack: LoneWorker, error: ErrorInfo):
    job = accept(stack.records, new_job())
    id = job.id, "live"
    stack.receive(job_event(job))
    tiers = of(error).retries
    for tier in tiers:
        await fail(stack, id, error)
        await stack.come_back()
        assert stack.bus.records(Topic.JOBS_RETRY)[-1].position.partition == tier
    assert stack.state(id) is None
    await fail(stack, id, error)
    await stack.until(lambda: stack.state(id) is JobState.FAILED)
    await stack.until(lambda: len(stack.acked) == len(tiers) + 1)
    ending = stack.records.ending(*id)
    assert ending is not None
    assert ending.error == error
    (event,) = stack.told()
    assert event.read(DIARIZE.failed, RunFailed).error == error
    (letter,) = stack.bus.records(Topic.JOBS_DLQ)
    assert letter.value == stack.bus.records(Topic.JOBS_RETRY)[0].value
    assert headers(letter)["error"] == error.code.encode()
    assert headers(letter)["attempt"] == b"%d" % (len(tiers) + 1)
    assert not stack.records.is_pending(*id)


@pytest.mark.parametrize("error", [AudioUnreadable("no").info, EngineOutOfMemory().info], ids=lambda e: e.code)
async def test_what_will_not_pass_is_not_tried_again(stack: LoneWorker, error: ErrorInfo):
    id = stack.submit()
    await fail(stack, id, error)
    await stack.until(lambda: stack.acked == [0])
    assert stack.state(id) is JobState.FAILED
    assert stack.bus.records(Topic.JOBS_RETRY) == []


async def test_a_run_that_was_cancelled_meanwhile_does_not_wait_for_its_retry(tmp_path: Path):
    stack = await LoneWorker(tmp_path, retry_delays=DELAYS).start()
    id = await put_off(stack)
    await stack.quiet()
    assert stack.bus.records(Topic.JOBS) == []
    stack.records.put_cancelled(*id)
    await stack.cancel(id)
    await stack.until(lambda: stack.bus.records(Topic.JOBS))
    stack.receive(replace(stack.bus.records(Topic.JOBS)[0], position=Position(Topic.JOBS, 0, 1)))
    await stack.until(lambda: stack.acked == [0, 1])
    assert stack.told()[0].read(DIARIZE.failed, RunFailed).error.code == "job_cancelled"
    assert stack.engine.opened == [id]
    await stack.worker.close()


async def test_a_run_that_was_cancelled_before_its_retry_came_does_not_wait_for_it(tmp_path: Path):
    stack = await LoneWorker(tmp_path, retry_delays=DELAYS).start()
    id = stack.submit()
    await fail(stack, id, StoreUnavailable("full").info)
    await stack.until(lambda: stack.acked == [0])
    stack.records.put_cancelled(*id)
    await stack.come_back()
    await stack.until(lambda: stack.acked == [0, 1])
    assert stack.told()[0].read(DIARIZE.failed, RunFailed).error.code == "job_cancelled"
    assert stack.engine.opened == [id]
    await stack.worker.close()


async def test_of_a_job_that_was_erased_meanwhile_nothing_comes_back(stack: LoneWorker):
    id = stack.submit()
    await fail(stack, id, StoreUnavailable("full").info)
    await stack.until(lambda: stack.acked == [0])
    stack.records.erase(id[0])
    await stack.come_back()
    await stack.until(lambda: stack.acked == [0, 1])
    assert list(stack.store.list("jobs/")) == []
    assert list(stack.store.list("pending/")) == []
    assert stack.told() == []


@pytest.mark.parametrize("value", [b"", b"soon", b"\xff", b"nan", b"inf", b"-1e999", b"1e400"])
@pytest.mark.parametrize("name", ["attempt", "not_before"])
async def test_headers_that_anybody_wrote_do_no_harm(tmp_path: Path, name: str, value: bytes):
    stack = await LoneWorker(tmp_path, retry_delays=DELAYS).start()
    job = accept(stack.records, new_job())
    record = record_of(job_event(job))
    odd = replace(record, position=Position(Topic.JOBS_RETRY, 0, 0), headers=(*record.headers, (name, value)))
    stack.worker.receive(odd, lambda: stack.came_back.append(0))
    await stack.until(lambda: stack.came_back == [0])
    assert len(stack.bus.records(Topic.JOBS)) == 1
    assert not stack.worker.broken.is_set()
    await stack.worker.close()


@pytest.mark.parametrize("digits", [20, 4300, 5000])
async def test_a_number_of_tries_beyond_all_measure_fails_like_any_other(tmp_path: Path, digits: int):
    """Python writes no integer of more than 4300 digits: one more try than that could be told to nobody."""
    stack = await LoneWorker(tmp_path, retry_delays=DELAYS).start()
    job = accept(stack.records, new_job())
    record = record_of(job_event(job))
    odd = replace(record, headers=(*record.headers, ("attempt", b"9" * digits)))
    stack.worker.receive(odd, lambda: stack.came_back.append(0))
    await fail(stack, (job.id, "live"), EngineFailed("odd").info)
    await stack.until(lambda: stack.came_back == [0])
    assert len(stack.bus.records(Topic.JOBS_DLQ if digits <= 4300 else Topic.JOBS_RETRY)) == 1
    await stack.worker.close()


async def test_garbage_on_the_retry_topic_is_refused_like_any_other(stack: LoneWorker):
    for offset, value in enumerate((None, b"\xff", b"{}")):
        stack.worker.receive(
            Record(Position(Topic.JOBS_RETRY, 1, offset), b"k", value), lambda at=offset: stack.came_back.append(at)
        )
    await stack.until(lambda: stack.came_back == [0, 1, 2])
    letters = stack.bus.records(Topic.JOBS_DLQ)
    assert [headers(letter)["error"] for letter in letters] == [b"event_invalid"] * 3
    assert headers(letters[0])["src"].startswith(b"gpu-jobs.retry/1/")


async def test_a_partition_that_moves_takes_its_retries_with_it(tmp_path: Path):
    stack = await LoneWorker(tmp_path, retry_delays=DELAYS).start()
    id = await put_off(stack)
    stack.worker.revoked()
    stack.worker.assigned({0})
    await stack.cancel(id)  # would send it on at once
    await stack.quiet()
    assert stack.bus.records(Topic.JOBS) == []
    assert stack.came_back == []
    await stack.worker.close()


# The waiting itself


class Waiting:
    """Retries on a clock of their own."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.due: list[str] = []
        self.receipts = Receipts(FreeFlow(), 100)
        self.retries = Retries(lambda held, _: self.due.append(held.job.id), longest=600, clock=lambda: self.now)

    def hold(self, not_before: float | None, offset: int = 0) -> str:
        record = record_of(job_event(new_job()), offset)
        if not_before is not None:
            record = replace(record, headers=(*record.headers, ("not_before", str(not_before).encode())))
        held = read(record, installed())
        self.retries.hold(held, self.receipts.take(record.position, lambda: None))
        return held.job.id

    def at(self, now: float) -> list[str]:
        self.now = now
        self.retries.look()
        return self.due


async def test_each_is_let_go_when_it_is_due():
    waiting = Waiting()
    late, soon = waiting.hold(1060.0, 0), waiting.hold(1005.0, 1)
    assert waiting.at(1004.9) == []
    assert waiting.at(1005.0) == [soon]
    assert waiting.at(1060.0) == [soon, late]
    assert len(waiting.retries) == 0


async def test_nothing_waits_for_longer_than_the_longest_delay():
    waiting = Waiting()
    waiting.hold(1e12)
    assert waiting.at(1599.0) == []
    assert len(waiting.at(1600.0)) == 1


async def test_one_is_let_go_in_real_time_without_a_word_from_anybody():
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    retries = Retries(lambda *_: done.set(), longest=600, clock=loop.time)
    record = record_of(job_event(new_job()))
    due = str(loop.time() + 0.02).encode()
    held = read(replace(record, headers=(*record.headers, ("not_before", due))), installed())
    retries.hold(held, Receipts(FreeFlow(), 100).take(record.position, lambda: None))
    assert not done.is_set()
    async with asyncio.timeout(30):
        await done.wait()


@settings(deadline=None)
@given(st.lists(st.floats(0, 3000), max_size=20), st.lists(st.floats(0, 300), max_size=20))
def test_the_due_ones_are_let_go_in_their_order_and_no_other(dues: list[float], steps: list[float]):
    async def run() -> None:
        waiting = Waiting()
        waiting.retries = Retries(
            lambda held, _: waiting.due.append(held.job.id), longest=10_000, clock=lambda: waiting.now
        )
        held = {waiting.hold(due, n): due for n, due in enumerate(dues)}
        for step in steps:
            waiting.at(waiting.now + step)
            assert {held[id] for id in waiting.due} == {due for due in dues if due <= waiting.now}
        waiting.retries.clear()
        waiting.at(1e9)
        assert len(waiting.due) == sum(due <= 1000.0 + sum(steps) for due in dues)

    asyncio.run(run())


@settings(deadline=None)
@given(st.binary(max_size=12))
def test_any_bytes_say_when(value: bytes):
    record = record_of(job_event(new_job()))
    held = read(replace(record, headers=(*record.headers, ("not_before", value), ("attempt", value))), installed())
    assert due_at(held, latest=5000.0) <= 5000.0
    assert held.retries >= 0

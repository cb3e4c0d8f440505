"""What a replay asks for: the jobs that are meant, each once, whatever interrupts it."""

import asyncio
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import BrokerUnavailable, StoreUnavailable
from schemas.jobs import JobState, Lane, Mode
from schemas.topics import Topic
from tests.support.past import NOW, Past
from turnstream.bus.base import Position
from turnstream.bus.memory import MemoryBus
from turnstream.object_store.memory import MemoryStore
from turnstream.records import MarkState, Records, RunRequest, Source
from turnstream.replay import retrying
from turnstream.resumable import Tally

BOTH = pytest.mark.parametrize("source", list(Source))


@BOTH
async def test_each_job_gets_the_run_in_the_batch_lane_with_what_was_said(past: Past, source: Source) -> None:
    jobs = [await past.job(params={"num_speakers": 2, "max_speakers": 4}) for _ in range(3)]
    tally = await past.replay(source=source, params={"mode": "fast", "num_speakers": ""})
    assert tally == Tally(done=3)
    assert past.jobs_of("again") == sorted(jobs)
    for asked in past.published("again"):
        assert (asked.lane, asked.operation, asked.owner) == (Lane.BATCH, "diarize", "anonymous")
        assert asked.params["mode"] == Mode.FAST
        assert asked.params["max_speakers"] == 4
        assert "num_speakers" not in asked.params
    for job in jobs:
        view = past.records.job_of_run(job, "again")
        assert view.lane is Lane.BATCH, "it is shown so, and published again so by the sweep"
        mark = past.records.mark(job, "again")
        assert mark is not None
        assert mark.state is MarkState.QUEUED
        assert mark.partition == past.layout.partition(job, "diarize", Lane.BATCH)
        assert past.records.job(job).lane is Lane.INTERACTIVE


@BOTH
async def test_only_what_lies_between_counts(past: Past, source: Source) -> None:
    _, *inside, _ = [await past.job(hours) for hours in (10, 8.0001, 6, 4.0001, 4)]
    await past.lie_where_they_were_accepted()
    ends = {"since": (NOW - timedelta(hours=8.0001)).isoformat(), "until": (NOW - timedelta(hours=4)).isoformat()}
    await past.replay(source=source, **ends)
    assert past.jobs_of("again") == sorted(inside)


async def test_a_job_counts_when_it_was_accepted_not_when_its_upload_began(past: Past) -> None:
    before, inside = [await past.job(1.0 + more, uploading=600) for more in (0.01, -0.01)]
    tally = await past.replay(since=(NOW - timedelta(hours=1)).isoformat())
    assert past.jobs_of("again") == [inside]
    assert tally == Tally(done=1, left=1), before


@BOTH
@pytest.mark.parametrize("state", [None, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED])
async def test_the_state_of_the_first_run_decides(past: Past, source: Source, state: JobState | None) -> None:
    jobs = {how: await past.job(ended=how) for how in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, None)}
    await past.replay(source=source, state=state)
    wanted = [job for how, job in jobs.items() if (how is state if state else how is not JobState.CANCELLED)]
    assert past.jobs_of("again") == sorted(wanted)


@BOTH
async def test_only_the_operation_that_is_named(past: Past, source: Source) -> None:
    await past.job(operation="transcribe")
    job = await past.job()
    await past.replay(source=source, operation="diarize")
    assert past.jobs_of("again") == [job]


async def test_a_parameter_leaves_out_the_operations_that_do_not_take_it(past: Past) -> None:
    await past.job(operation="transcribe")
    job = await past.job()
    assert await past.replay(params={"mode": "fast"}) == Tally(done=1, left=1)
    assert past.jobs_of("again") == [job]


async def test_parameters_that_fit_one_job_and_not_another(past: Past) -> None:
    await past.job(params={"max_speakers": 2})
    job = await past.job()
    assert await past.replay(params={"num_speakers": "3"}) == Tally(done=1, failed=1)
    assert past.jobs_of("again") == [job]


@BOTH
async def test_what_is_there_is_not_asked_for_again(past: Past, source: Source) -> None:
    waiting, ended, missing = [await past.job() for _ in range(3)]
    await past.replay(source=source)
    past.end(ended, "again", JobState.SUCCEEDED)
    past.records.remove_mark(missing, "again")  # it was given up
    tally = await past.replay(source=source)
    assert (tally.done, tally.there) == (1, 2)
    assert Counter(past.jobs_of("again")) == {waiting: 1, ended: 1, missing: 2}


async def test_a_rehearsal_counts_and_changes_nothing(past: Past) -> None:
    for _ in range(3):
        await past.job()
    await past.replay("before", since="2d")
    kept, sent = [info.key for info in past.store.list("")], len(past.bus.records(Topic.JOBS))
    assert await past.replay(rehearse=True) == Tally(done=3)
    assert await past.replay("before", since="2d", rehearse=True) == Tally(there=3)
    assert [info.key for info in past.store.list("")] == kept
    assert len(past.bus.records(Topic.JOBS)) == sent


async def test_an_erased_job_stays_erased(past: Past) -> None:
    erased, job = await past.job(), await past.job()
    past.records.erase(erased)
    assert await past.replay() == Tally(done=1)
    assert await past.replay("other", source=Source.TOPIC) == Tally(done=1, left=3 - 1)
    assert past.jobs_of("other") == [job]
    assert not [info.key for info in past.store.list("") if erased in info.key]


async def test_the_topic_is_read_for_first_runs_and_each_once(past: Past) -> None:
    job = await past.job()
    await past.replay("first")
    await past.bus.publish(Topic.JOBS, key=b"k", value=b"torn", partition=0)
    [event] = [each for each in past.bus.records(Topic.JOBS) if each.position.partition == 0 and each.value != b"torn"]
    await past.bus.publish(Topic.JOBS, key=event.key, value=event.value, headers=event.headers, partition=0)
    await past.replay("second", source=Source.TOPIC)
    assert past.jobs_of("second") == [job]


async def test_a_run_of_that_name_which_means_something_else_is_left_alone(past: Past) -> None:
    job, other = await past.job(), await past.job()
    theirs = RunRequest(params={"num_speakers": 5}, created_at=datetime.now(UTC))
    past.records.request_run(job, "again", theirs)
    assert await past.replay() == Tally(done=1, failed=1)
    assert past.jobs_of("again") == [other]
    assert past.records.run_request(job, "again") == theirs


@BOTH
@pytest.mark.parametrize("lane", [None, Lane.BATCH])
async def test_nor_is_one_that_has_ended_taken_for_the_replays(past: Past, source: Source, lane: Lane | None) -> None:
    job, other = await past.job(), await past.job()
    params = {"num_speakers": 5} if lane else {}
    past.records.request_run(job, "again", RunRequest(params=params, created_at=NOW, lane=lane))
    past.end(job, "again", JobState.SUCCEEDED)
    assert await past.replay(source=source, rehearse=True) == Tally(done=1, failed=1)
    assert await past.replay(source=source) == Tally(done=1, failed=1)
    assert past.jobs_of("again") == [other]


async def test_a_run_that_an_older_release_asked_for_is_known_again(past: Past) -> None:
    job = await past.job(params={"max_speakers": 4})
    theirs = RunRequest(params={"max_speakers": 4}, created_at=NOW, lane=Lane.BATCH)  # there was no `embeddings` to say
    past.records.request_run(job, "again", theirs)
    assert await past.replay() == Tally(done=1)
    past.end(job, "again", JobState.SUCCEEDED)
    assert await past.replay() == Tally(there=1)


async def test_a_job_that_was_sent_again_under_its_key_a_day_later_counts_when_it_was_accepted(past: Past) -> None:
    job = await past.job(1, uploading=timedelta(hours=24).total_seconds())
    assert await past.replay(since="2h") == Tally(done=1)
    assert past.jobs_of("again") == [job]
    assert (await past.standing()).queued == 1


async def test_what_was_stored_before_is_not_even_looked_at(past: Past) -> None:
    class Then(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return (NOW - timedelta(hours=20)).astimezone(tz)

    with patch("turnstream.object_store.memory.datetime", Then):
        await past.job(20)
    assert await past.replay(since="2h") == Tally()


# Interruptions


class Torn(MemoryStore):
    """Raises at the n-th change, as if the process died there, or the store were away just then."""

    def __init__(self, error: type[BaseException]) -> None:
        super().__init__()
        self.left: int | None = None
        self.error = error

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        self._tear()
        super().put(key, data, if_absent=if_absent)

    def _tear(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise self.error("away")


class Killed(BaseException):
    pass


@settings(max_examples=30, deadline=None)
@given(kills=st.lists(st.integers(0, 25), max_size=6))
def test_killed_anywhere_and_started_again_each_run_is_asked_for(
    kills: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    asyncio.run(_killed(kills, tmp_path_factory.getbasetemp()))


async def _killed(kills: list[int], folder: Path) -> None:
    past = Past(folder)
    store = past.store = Torn(Killed)
    past.records = Records(store)
    past.records.agree_on_layout(1, past.operations)
    await past.begin()
    jobs = [await past.job() for _ in range(4)]
    for after in kills:
        store.left = after
        with suppress(Killed):
            await past.replay()
        store.left = None
    tally = await past.replay()
    assert tally.failed == 0
    asked = Counter(past.jobs_of("again"))
    assert set(asked) == set(jobs)
    assert asked.total() <= len(jobs) + len(kills) * 4, "what was under way at a kill may be asked for twice"
    for job in jobs:
        mark = past.records.mark(job, "again")
        assert mark is not None
        assert mark.state is MarkState.QUEUED
    assert (await past.replay()).there == len(jobs)


async def test_a_broker_that_is_away_for_a_moment_ends_no_replay(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "FIRST_PAUSE", 0.001)
    jobs = [await past.job() for _ in range(5)]
    refused = Counter[bytes | None]()

    class Moody(MemoryBus):
        async def publish(self, topic: str, *, key: bytes | None, value: bytes | None, **more: object) -> Position:
            refused[key] += 1
            if refused[key] == 1:
                raise BrokerUnavailable("away")
            return await super().publish(topic, key=key, value=value, **more)

    past.bus.__class__ = Moody
    assert await past.replay() == Tally(done=5)
    assert Counter(past.jobs_of("again")) == Counter(jobs)


async def test_a_broker_that_stays_away_fails_the_jobs_and_the_next_start_takes_them_up(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(retrying, "TRIES", 2)
    jobs = [await past.job() for _ in range(3)]
    past.store.put = partial(_refusing, past.store)  # type: ignore[method-assign]
    assert (await past.replay()).failed == 3
    del past.store.put
    assert (await past.replay()).done == 3
    assert past.jobs_of("again") == sorted(jobs)


def _refusing(self: MemoryStore, key: str, data: bytes, *, if_absent: bool = False) -> None:
    if "/request.json" in key and not key.startswith("replays/"):
        raise StoreUnavailable("away")
    MemoryStore.put(self, key, data, if_absent=if_absent)


async def test_no_more_wait_in_the_broker_than_it_is_told(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turnstream.replay.pace.LOOK_EVERY", 0.001)
    jobs = [await past.job() for _ in range(40)]
    partition = past.layout.partition(jobs[0], "diarize", Lane.BATCH)
    most = 0

    async def work() -> None:
        nonlocal most
        done = 0
        while done < len(jobs):
            waiting = len(past.published("again")) - done
            most = max(most, waiting)
            if waiting >= 5 or done + waiting == len(jobs):
                done += waiting
                past.bus.commit(past.settings.consumer_group, Topic.JOBS, partition, done)
            await asyncio.sleep(0.001)

    async with asyncio.timeout(60):
        _, tally = await asyncio.gather(work(), past.replay(ahead=5))
    assert tally.done == 40
    assert most <= 5 + 4, "those that are under way at a look may come on top"

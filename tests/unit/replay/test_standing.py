"""How a replay stands, and the end of it."""

import asyncio

import pytest

from schemas.errors import ReplayRefused
from schemas.jobs import JobState
from schemas.topics import Topic
from tests.support.past import NOW, Past
from turnstream.records import RunRequest, Source
from turnstream.replay import publisher
from turnstream.replay.stopping import cancel_replay
from turnstream.resumable import Tally


async def test_how_it_stands(past: Past) -> None:
    ended = [await past.job() for _ in range(6)]
    await past.replay(since="2d")
    past.end(ended[0], "again", JobState.SUCCEEDED)
    past.end(ended[1], "again", JobState.FAILED)
    past.end(ended[2], "again", JobState.CANCELLED)
    past.open(ended[3], "again")
    past.records.remove_mark(ended[4], "again")
    found = await past.standing()
    assert (found.succeeded, found.failed, found.cancelled, found.running, found.missing, found.queued) == (1,) * 6
    assert (found.total, found.published, found.ended) == (6, 5, 3)


async def test_jobs_that_such_a_run_cannot_be_asked_for_are_told_apart(past: Past) -> None:
    _, taken, _ = await past.job(params={"max_speakers": 2}), await past.job(), await past.job()
    past.records.request_run(taken, "again", RunRequest(params={"num_speakers": 5}, created_at=NOW))
    assert (await past.replay(params={"num_speakers": "3"})).failed == 2
    found = await past.standing()
    assert (found.queued, found.missing, found.refused, found.possible, found.total) == (1, 0, 2, 1, 3)


async def test_what_a_topic_held_nobody_knows_afterwards(past: Past) -> None:
    await past.job()
    past.bus.forget()
    await past.begin()
    await past.job()
    await past.replay(source=Source.TOPIC)
    found = await past.standing()
    assert (found.queued, found.missing, found.refused, found.total) == (1, None, None, 1)


async def test_a_cancelled_replay_ends_all_that_has_not_ended_and_is_not_taken_up_again(past: Past) -> None:
    done, waiting = await past.job(), await past.job()
    await past.replay(since="2d")
    past.end(done, "again", JobState.SUCCEEDED)
    request = past.records.replay("again")
    assert request is not None
    tally = await cancel_replay(past.settings, past.bus, past.records, "again", request, lambda _: None)
    assert tally == Tally(done=1, there=1)
    assert past.records.outcome(waiting, "again")[0] is JobState.CANCELLED  # type: ignore[index]
    assert past.records.outcome(done, "again")[0] is JobState.SUCCEEDED  # type: ignore[index]
    assert len(past.bus.records(Topic.JOB_CONTROL)) == 1
    with pytest.raises(ReplayRefused, match="was cancelled"):
        await past.replay(since="2d")


async def test_who_publishes_a_replay_that_is_cancelled_stops_and_leaves_nothing(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "LOOK_EVERY", 0.01)
    monkeypatch.setattr("turnstream.replay.pace.LOOK_EVERY", 0.01)
    jobs = [await past.job() for _ in range(30)]
    replayer = past.publisher(ahead=5)  # nobody works: it waits after the first of them
    await replayer.survey.look()
    work = asyncio.create_task(replayer.publish(4, lambda _: None))
    async with asyncio.timeout(30):
        while not past.published("again"):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        past.records.cancel_replay("again", NOW)
        await work
    assert replayer.cancelled
    assert len(past.jobs_of("again")) < len(jobs)
    for job in past.jobs_of("again"):
        assert past.records.outcome(job, "again")[0] is JobState.CANCELLED  # type: ignore[index]


async def test_a_fault_of_the_watch_for_a_cancel_is_none(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turnstream.replay.pace.LOOK_EVERY", 0.01)
    for _ in range(3):
        await past.job()
    replayer = past.publisher(ahead=1)
    await replayer.survey.look()

    def broken(name: str) -> bool:
        if not past.published("again"):
            return False
        raise RuntimeError(name)

    monkeypatch.setattr(publisher, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(past.records, "replay_cancelled", broken)
    with pytest.raises(RuntimeError):
        await replayer.publish(1, lambda _: None)
    assert not any(past.records.outcome(job, "again") for job in past.jobs_of("again"))

"""One worker under what callers and strangers may send: a flood, garbage, jobs that fail by the dozen; on both brokers."""

import os
from collections import Counter
from pathlib import Path

import pytest

from schemas.topics import JOB_EVENT_LIMIT, Topic
from tests.support.fleet import Fleet, running_fleet
from tests.support.real import REAL_KAFKA, REASON

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

REAL = [pytest.mark.real, pytest.mark.skipif(REAL_KAFKA not in os.environ, reason=REASON)]
KINDS = ["embedded", pytest.param("kafka", marks=REAL)]


async def told(fleet: Fleet) -> None:
    """Each run has its event, on Apache Kafka exactly one."""
    events = Counter(await fleet.told())
    assert set(events) == {f"{job}/live" for job in fleet.submitted}
    if fleet.settings.transactional:
        assert set(events.values()) == {1}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_flood_of_one_operation_fills_its_partition_and_holds_up_no_other(kind: str, tmp_path: Path):
    """Ten times what a worker takes of a partition lies there: it is paused and goes on, again and again."""
    async with running_fleet(tmp_path, 1, 1, kind, QUEUE_LIMIT="16", MAX_WAIT="1") as fleet:
        for _ in range(160):
            await fleet.submit("diarize", "sleep-0.4.wav")
        other = await fleet.submit("transcribe", "a.wav")
        await fleet.settled()
        assert fleet.outcomes() == {"succeeded": 161}
        computed = fleet.computed()
        began = next(each.began for each in computed if each.job == other.id)
        assert began < max(each.ended for each in computed)
        assert fleet.computed_twice() == {}


@pytest.mark.parametrize("kind", KINDS)
async def test_garbage_among_jobs_is_set_aside(kind: str, tmp_path: Path):
    garbage = [b"\xff\xfe", None, b"{}", b"x" * (JOB_EVENT_LIMIT + 1)]
    async with running_fleet(tmp_path, 1, 1, kind) as fleet:
        for value in garbage:
            await fleet.submit("diarize", "a.wav")
            await fleet.publish_record(b"anything", value)
        await fleet.settled()
        assert fleet.outcomes() == {"succeeded": 4}
        letters = await fleet.read(Topic.JOBS_DLQ)
        assert [letter.value for letter in letters[:3]] == garbage[:3]
        assert [dict(letter.headers)["error"] for letter in letters] == [b"event_invalid"] * 4
        await told(fleet)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_storm_of_retries_ends_and_holds_up_nobody(kind: str, tmp_path: Path):
    async with running_fleet(tmp_path, 1, 1, kind, RETRY_DELAYS="0.2,0.4,0.6") as fleet:
        bad = [await fleet.submit("diarize", "error.wav") for _ in range(40)]
        good = [await fleet.submit("transcribe", "a.wav") for _ in range(20)]
        await fleet.settled()
        assert fleet.outcomes() == {"failed": len(bad), "succeeded": len(good)}
        tries = Counter(each.job for each in fleet.computed())
        assert {tries[job.id] for job in good} == {1}
        assert {tries[job.id] for job in bad} == {2}  # engine_failed has one retry: schemas/failures.py
        letters = Counter(dict(letter.headers)["ce_id"].decode() for letter in await fleet.read(Topic.JOBS_DLQ))
        assert set(letters) == {f"{job.id}/live" for job in bad}
        await told(fleet)

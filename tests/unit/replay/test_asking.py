"""What a replay's name stands for, and what is refused before it stands for anything."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas.base import Form
from schemas.errors import ReplayRefused
from schemas.jobs import JobState
from schemas.operations import DIARIZE
from tests.support.past import Past, order_of
from turnstream.records import Source
from turnstream.resumable import Tally


async def test_the_same_name_goes_on_with_the_bounds_it_began_with(past: Past) -> None:
    await past.job()
    await past.replay(since="2d")
    first = past.records.replay("again")
    later = await past.job(hours_ago=-1)
    assert (await past.replay(since="2d")).there == 1
    assert (await past.replay(since=None)).there == 1
    assert past.records.replay("again") == first
    assert first is not None
    assert (await past.replay(since=first.since.isoformat())).there == 1
    assert later not in past.jobs_of("again")


@pytest.mark.parametrize(
    "other",
    [
        {"params": {"mode": "fast"}},
        {"since": "3d"},
        {"until": "1h"},
        {"operation": "diarize"},
        {"state": JobState.FAILED},
        {"source": Source.TOPIC},
    ],
)
async def test_the_same_name_for_something_else_is_refused(past: Past, other: dict[str, object]) -> None:
    await past.replay(since="2d")
    with pytest.raises(ReplayRefused, match="another name"):
        await past.replay(**({"since": "2d"} | other))


@pytest.mark.parametrize(
    "order",
    [
        {"since": None},
        {"since": "1h", "until": "2h"},
        {"operation": "sing"},
        {"params": {"colour": "red"}},
        {"params": {"language": "en"}, "operation": "diarize"},
        {"params": {"mode": "fsat"}},
        {"params": {"mode": "fast", "language": "neither"}},
        {"params": {"num_speakers": "0"}, "operation": "transcript"},
        {"since": "nonsense"},
        *({"name": name} for name in ("run-2", "backfill-2", "dlq-7", "dlq-7-2")),
    ],
)
async def test_what_cannot_be_is_refused_before_anything_is_stored(past: Past, order: dict[str, Any]) -> None:
    await past.job()
    with pytest.raises(ReplayRefused):
        await past.replay(**order)
    assert not list(past.records.replays())


async def test_a_refusal_says_what_would_be_taken(past: Past) -> None:
    with pytest.raises(ReplayRefused, match="mode=fsat: Input should be 'exact' or 'fast'"):
        past.request(order_of(params={"mode": "fsat"}))
    with pytest.raises(ReplayRefused, match="transcribe takes language, vad"):
        past.request(order_of(params={"mode": "fast"}, operation="transcribe"))


async def test_a_parameter_may_need_others_that_the_job_has(past: Past) -> None:
    class Needy(Form):
        first: int
        second: int

    past.operations = {"needy": replace(DIARIZE, name="needy", params=Needy)}
    past.request(order_of(params={"first": "1"}))
    with pytest.raises(ReplayRefused, match="first=one"):
        past.request(order_of(params={"first": "one"}))


async def test_a_replay_that_has_a_numbered_name_goes_on(past: Past) -> None:
    await past.job()
    past.records.start_replay("run-2", past.request(order_of()))
    assert await past.replay("run-2", since=None) == Tally(done=1)


async def test_the_topic_of_the_embedded_broker_is_refused(tmp_path: Path) -> None:
    past = await Past(tmp_path).begin()
    with pytest.raises(ReplayRefused, match="Apache Kafka"):
        await past.replay(source=Source.TOPIC)

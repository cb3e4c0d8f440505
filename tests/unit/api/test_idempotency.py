"""Idempotency-Key: whatever is sent again is done once, and answered as it was."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer_api import sweep
from producer_api.idempotency import read_key
from schemas.errors import InvalidRequest
from schemas.topics import Topic
from tests.support.api import OTHER_KEY, complete, is_problem, until, working
from turnstream.bus.memory import MemoryBus
from turnstream.object_store.memory import MemoryStore
from turnstream.records import Mark, MarkState

JOBS, FILE = "/api/v1/jobs", "/api/v1/diarize/file"


async def send(api, blip, key: str | None = "k", *, path: str = JOBS, name: str = "blip.wav", more=None, **fields: str):
    headers = {} if key is None else {"Idempotency-Key": key}
    return await api.client.post(
        path, files={"audio": (name, blip.read_bytes())}, data=fields, headers=headers | (more or {})
    )


def jobs(api) -> list[str]:
    """The ids of all that are in the index."""
    return [info.key[-36:] for info in api.store.list("index/")]


def entries(api) -> list[str]:
    return [info.key for info in api.store.list("idempotency/")]


async def test_the_same_call_is_answered_as_before_and_done_once(api, blip):
    first = await send(api, blip, lane="batch")
    second = await send(api, blip, lane="batch", name="another-name.wav")

    assert (first.status_code, second.status_code) == (202, 202)
    assert second.json() == first.json()
    assert second.headers["location"] == first.headers["location"]
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert jobs(api) == [first.json()["id"]]
    assert len(api.bus.records(Topic.JOBS)) == 1
    assert api.spools() == []


async def test_the_answer_is_the_first_one_also_when_the_job_has_ended(api, blip):
    first = await send(api, blip)
    await complete(api, first.json()["id"])
    assert (await send(api, blip)).json() == first.json()


async def test_what_is_sent_twice_at_once_is_done_once(api, blip):
    answers = await asyncio.gather(*(send(api, blip) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {202}
    assert {answer.json()["id"] for answer in answers} == set(jobs(api))
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert len(api.bus.records(Topic.JOBS)) == 1


@pytest.mark.parametrize("other", ["fields", "audio", "call"])
async def test_another_submission_under_the_key_is_refused(api, blip, tmp_path, other):
    first = await send(api, blip)
    longer = tmp_path / "longer.wav"
    longer.write_bytes(blip.read_bytes() + b"\0")
    answer = await send(
        api,
        longer if other == "audio" else blip,
        path=FILE if other == "call" else JOBS,
        **({"num_speakers": "2"} if other == "fields" else {}),
    )
    is_problem(answer, 422, "idempotency_key_reused")
    assert jobs(api) == [first.json()["id"]]
    assert api.spools() == []


async def test_keys_are_each_owners_own(api, blip):
    ours = await send(api, blip)
    theirs = await send(api, blip, more={"x-api-key": OTHER_KEY})
    unkeyed = [await send(api, blip, key=None) for _ in range(2)]
    ids = {answer.json()["id"] for answer in (ours, theirs, *unkeyed)}
    assert len(ids) == 4


async def test_who_waits_for_turns_waits_for_those_of_the_same_job(api, blip):
    async with working(api):
        first, second = await asyncio.gather(send(api, blip, path=FILE), send(api, blip, path=FILE))
    again = await send(api, blip, path=FILE)
    assert {answer.status_code for answer in (first, second, again)} == {200}
    assert first.json() == second.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert len(jobs(api)) == 1


async def test_who_asks_again_after_the_wait_limit_gets_the_turns(start, blip):
    async with start(wait_limit=0.05) as api:
        address = is_problem(await send(api, blip, path=FILE), 504, "wait_expired")["job"]
        assert is_problem(await send(api, blip, path=FILE), 504, "wait_expired")["job"] == address
        await complete(api, address.rsplit("/", 1)[-1])
        assert (await send(api, blip, path=FILE)).json()["job_id"] == address.rsplit("/", 1)[-1]


async def test_a_call_that_failed_leaves_the_key_free(api, blip, tmp_path):
    (tmp_path / "x.wav").write_bytes(b"no sound")
    is_problem(await send(api, tmp_path / "x.wav"), 422, "audio_unreadable")
    is_problem(await send(api, blip, num_speakers="0"), 422, "invalid_request")
    assert entries(api) == []

    api.bus.break_down()
    is_problem(await send(api, blip), 503, "broker_unavailable")
    assert api.kept() == []
    api.bus.mend()
    await until(lambda: api.service.watch.problem is None)
    assert (await send(api, blip, num_speakers="2")).status_code == 202, "not even the body is kept"
    assert len(jobs(api)) == 1


async def test_an_erased_job_frees_its_key_and_leaves_nothing(api, blip):
    first = (await send(api, blip)).json()["id"]
    assert (await api.client.delete(f"{JOBS}/{first}")).status_code == 204
    assert first not in str([api.store.get(key) for key in entries(api)])
    second = (await send(api, blip, num_speakers="2")).json()["id"]
    assert jobs(api) == [second] != [first]
    await api.client.delete(f"{JOBS}/{first}")
    assert (await send(api, blip, num_speakers="2")).json()["id"] == second


class Held(MemoryStore):
    """Recordings are stored when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.go_on = threading.Event(), threading.Event()

    def put_stream(self, *args, **more) -> None:
        self.reached.set()
        assert self.go_on.wait(30)
        super().put_stream(*args, **more)


async def test_a_call_does_not_wait_for_its_twin_for_ever(start, blip):
    store = Held()
    async with start(store=store, wait_limit=0.05) as api:
        first = asyncio.create_task(send(api, blip))
        await until(store.reached.is_set)
        second = await send(api, blip)
        is_problem(second, 409, "idempotency_key_in_use")
        assert int(second.headers["retry-after"]) > 0
        store.go_on.set()
        assert (await first).status_code == 202
        assert (await send(api, blip)).json() == first.result().json()


@pytest.mark.parametrize("state", ["accepting", "queued", "ended"])
async def test_what_a_dead_process_left_is_brought_to_its_end(start, blip, state):
    """It was killed before it could say so: the job is the same, wherever it had come to."""
    store, bus = MemoryStore(), MemoryBus()
    async with start(store=store, bus=bus) as api:
        job_id = (await send(api, blip)).json()["id"]
        _, verdict = entries(api)
        store.delete(verdict)
        mark = api.records.mark(job_id, "live")
        if state == "accepting":
            api.records.put_mark(job_id, "live", Mark(state=MarkState.ACCEPTING, at=mark.at))
            store.delete(f"jobs/{job_id}/job.json")
            store.delete_prefix("index/")
        elif state == "ended":
            await complete(api, job_id)
    async with start(store=store, bus=bus) as api:
        answer = await send(api, blip)
        assert (answer.status_code, answer.json()["id"]) == (202, job_id)
        assert jobs(api) == [job_id]
        assert len(api.bus.records(Topic.JOBS)) == (2 if state == "accepting" else 1)
        left = api.records.mark(job_id, "live")
        assert left is None if state == "ended" else left.state is MarkState.QUEUED
        assert (await send(api, blip)).json() == answer.json()


async def test_the_sweep_erases_a_broken_off_submission_unless_it_came_to_its_end(start, blip):
    async with start(accepting_limit=60) as api:
        broken, kept = [(await send(api, blip, key)).json()["id"] for key in ("broken", "kept")]
        for job_id in (broken, kept):
            job = api.records.job(job_id)
            old = datetime.now(UTC) - timedelta(seconds=61)
            api.records.put_mark(
                job_id, "live", Mark(state=MarkState.ACCEPTING, at=old, claim=api.records.job(job_id).claim)
            )
            if job_id == broken:
                name, _, number = job.claim.rpartition("/")
                api.store.delete(f"idempotency/{name}/{int(number) + 1:06d}")
        await api.service.sweeper.sweep()
        assert jobs(api) == [kept]
        again = (await send(api, blip, "broken")).json()["id"]
        assert again != broken
        assert sorted(jobs(api)) == sorted([again, kept])


async def test_keys_are_forgotten_in_time(start, blip, monkeypatch):
    monkeypatch.setattr(sweep, "FORGET_INTERVAL", 0.0)
    async with start(idempotency_seconds=60, accepting_limit=60) as api:
        first = await send(api, blip)
        await api.service.sweeper.sweep()
        assert (await send(api, blip)).json() == first.json()
        old = datetime.now(UTC) - timedelta(seconds=61)
        api.store._objects |= {entry: (api.store.get(entry), old) for entry in entries(api)}
        await api.service.sweeper.sweep()
        assert entries(api) == []
        second = await send(api, blip)
        assert second.json()["id"] != first.json()["id"]
        # The first job knows a claim that is another's by now.
        await api.client.delete(first.headers["location"])
        assert (await send(api, blip)).json() == second.json()


# The header

KEYS = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=255).filter(
    lambda key: key == key.strip() and not key.startswith('"')
)


@given(KEYS)
def test_a_key_is_the_same_with_and_without_quotes(key: str):
    quoted = '"' + key.replace("\\", r"\\").replace('"', r"\"") + '"'
    assert read_key([key]) == read_key([quoted]) == read_key([f"{quoted} ;v=1"]) == key


@pytest.mark.parametrize("lines", [[""], [" "], ['""'], ["k" * 256], ["é"], ["a\tb"], ["a", "a"], ['"\\x"x' * 64]])
def test_what_is_no_key(lines):
    with pytest.raises(InvalidRequest):
        read_key(lines)


async def test_a_bad_key_is_refused_before_the_upload_is_read(api, blip):
    is_problem(await send(api, blip, "k" * 256), 422, "invalid_request")
    api.assert_nothing_stays()

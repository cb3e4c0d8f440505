"""Prefer: wait=N, on what is submitted and on what is asked for."""

import asyncio

import pytest

from producer_api import results
from producer_api.waiting import Preferences, read_preferences
from schemas.topics import Topic
from tests.support.api import complete, is_problem, until, working
from tests.unit.api.test_jobs import tell_progress


@pytest.mark.parametrize(
    "lines, wait, respond_async",
    [
        (["wait=10"], 10, False),
        (["Wait = 10"], 10, False),
        (['wait="10"'], 10, False),
        (["respond-async, wait=10"], 10, True),
        (["respond-async", "wait=10"], 10, True),
        (["wait=10, wait=20"], 10, False),
        (['foo="a, wait=5"; bar="x, wait=6";q, wait=7'], 7, False),
        (["return=minimal; wait=5"], None, False),
        (["wait=0"], 0, False),
        (["wait"], None, False),
        (["wait=ten"], None, False),
        (["wait=-1"], None, False),
        (["wait=1.5"], None, False),
        (["wait=" + "9" * 5000], None, False),
        (["wait=³"], None, False),
        ([", ,;=,wait=3"], 3, False),
        ([""], None, False),
        ([], None, False),
    ],
)
def test_preferences_are_read_as_the_rfc_has_them(lines, wait, respond_async):
    assert read_preferences(lines) == Preferences(wait, respond_async)


async def submit(api, blip, prefer: str, path: str = "/api/v1/jobs"):
    audio = ("a.wav", blip.read_bytes())
    return await api.client.post(path, files={"audio": audio}, headers={"Prefer": prefer})


async def ask(api, address: str, prefer: str):
    return await api.client.get(address, headers={"Prefer": prefer})


@pytest.mark.parametrize("event", [True, False])
async def test_a_submission_waits_for_its_end(api, blip, event):
    async with working(api, event=event):
        answer = await submit(api, blip, "wait=30")
    assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")
    assert answer.headers["preference-applied"] == "wait=30"
    assert answer.headers["location"] == f"/api/v1/jobs/{answer.json()['id']}"


async def test_a_submission_that_does_not_end_in_time_is_answered_as_ever(start, blip):
    async with start(wait_limit=1) as api:
        answer = await submit(api, blip, "wait=100")
        assert (answer.status_code, answer.json()["state"]) == (202, "queued")
        assert answer.headers["preference-applied"] == "wait=1"
        assert "preference-applied" not in (await submit(api, blip, "wait=soon")).headers


async def test_a_submission_whose_job_has_begun_meanwhile_says_so(api, blip):
    call = asyncio.create_task(submit(api, blip, "wait=1"))
    await until(lambda: api.bus.records(Topic.JOBS))
    [record] = api.bus.records(Topic.JOBS)
    await tell_progress(api, record.key.decode(), 0.5)
    answer = await call
    assert (answer.status_code, answer.json()["state"]) == (202, "running")
    assert answer.json()["progress"]["fraction"] == 0.5


@pytest.mark.parametrize("path", ["/api/v1/jobs", "/api/v1/diarize/file"])
async def test_who_waits_no_second_still_gets_what_is_there(api, blip, path):
    call = {"files": {"audio": ("a.wav", blip.read_bytes())}, "headers": {"Prefer": "wait=0", "Idempotency-Key": "k"}}
    await api.client.post(path, **call)
    [record] = api.bus.records(Topic.JOBS)
    await complete(api, record.key.decode())
    assert (await api.client.post(path, **call)).status_code == 200


@pytest.mark.parametrize("what", ["", "/result"])
async def test_who_asks_waits_for_the_end(api, blip, what):
    job_id = await api.new_job(blip)
    call = asyncio.create_task(ask(api, f"/api/v1/jobs/{job_id}{what}", "wait=30"))
    await until(lambda: api.service.results._waiters)
    assert not call.done()
    await complete(api, job_id)
    answer = await call
    assert answer.status_code == 200
    assert answer.json().get("state", "succeeded") == "succeeded"
    assert answer.headers["preference-applied"] == "wait=30"
    assert (await ask(api, f"/api/v1/jobs/{job_id}{what}", "wait=30")).status_code == 200, "at once"


async def test_who_asks_for_what_does_not_end_is_told_so(api, blip):
    job_id = await api.new_job(blip)
    view = await ask(api, f"/api/v1/jobs/{job_id}", "wait=0")
    assert (view.status_code, view.json()["state"]) == (200, "queued")
    is_problem(await ask(api, f"/api/v1/jobs/{job_id}/result", "wait=1"), 409, "result_not_ready")


@pytest.mark.parametrize("what", ["", "/result"])
async def test_who_waits_for_what_is_erased_meanwhile_is_told_so_at_once(api, blip, what, monkeypatch):
    """By another process, so that nobody here is told."""
    monkeypatch.setattr(results, "POLL", 0.01)
    job_id = await api.new_job(blip)
    async with asyncio.timeout(30):
        call = asyncio.create_task(ask(api, f"/api/v1/jobs/{job_id}{what}", "wait=50"))
        await until(lambda: api.service.results._waiters)
        api.records.erase(job_id)
        is_problem(await call, 404, "job_not_found")


async def test_where_too_many_wait_nobody_is_refused_for_wishing_to(api, blip, monkeypatch):
    monkeypatch.setattr(results, "MAX_WAITERS", 0)
    answer = await submit(api, blip, "wait=30")
    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers
    assert (await ask(api, answer.headers["location"], "wait=30")).json()["state"] == "queued"


async def test_a_service_that_stops_keeps_nobody_waiting(api, blip):
    job_id = await api.new_job(blip)
    call = asyncio.create_task(ask(api, f"/api/v1/jobs/{job_id}", "wait=50"))
    await until(lambda: api.service.results._waiters)
    api.service.results.release()
    assert (await call).json()["state"] == "queued"


async def test_turns_are_asked_for_and_come_later(api, blip):
    answer = await submit(api, blip, "respond-async", "/api/v1/diarize/file")
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    assert answer.headers["preference-applied"] == "respond-async"
    [record] = api.bus.records(Topic.JOBS)
    assert answer.headers["location"] == f"/api/v1/jobs/{record.key.decode()}"
    is_problem(await submit(api, blip, "wait=0", "/api/v1/diarize/file"), 504, "wait_expired")
    async with working(api):
        answer = await submit(api, blip, "respond-async, wait=30", "/api/v1/diarize/file")
    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "respond-async, wait=30")

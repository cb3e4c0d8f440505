"""Jobs as their owner sees them."""

import asyncio

import pytest

from schemas.errors import ErrorInfo
from schemas.events import CANCEL_REQUESTED, JOB_PROGRESSED, Event, event_id
from schemas.jobs import CancelRequested, JobProgressed, JobState, Progress
from schemas.topics import Topic
from tests.support.api import OTHER_KEY, complete, is_problem, result, until, working
from turnstream.records import CANCELLED

UNKNOWN = "01890000-0000-7000-8000-000000000000"


async def state(api, job_id: str) -> dict:
    response = await api.client.get(f"/api/v1/jobs/{job_id}")
    assert response.status_code == 200
    return response.json()


async def tell_progress(api, job_id: str, fraction: float) -> None:
    progressed = JobProgressed(
        job_id=job_id, run="live", progress=Progress(stage="embedding", fraction=fraction, eta=3)
    )
    event = Event.of(JOB_PROGRESSED, "/turnstream/worker", job_id, event_id(job_id, "live"), progressed)
    await api.bus.publish(Topic.JOB_PROGRESS, key=event.key, value=event.data, headers=event.headers)


async def test_a_job_from_queued_to_succeeded(api, blip):
    job_id = await api.new_job(blip)
    assert (await state(api, job_id))["state"] == "queued"

    await api.bus.publish(Topic.JOB_PROGRESS, key=None, value=b"not json")  # hurts nobody
    await tell_progress(api, job_id, 0.25)
    await tell_progress(api, job_id, 0.5)
    await until(lambda: (seen := api.service.results.progress(job_id, "live")) and seen.fraction == 0.5)
    view = await state(api, job_id)
    assert view["state"] == "running"
    assert view["progress"] == {"stage": "embedding", "fraction": 0.5, "eta": 3}

    await complete(api, job_id)
    view = await state(api, job_id)
    assert view["state"] == "succeeded"
    assert "progress" not in view


async def test_a_job_that_waits_for_its_next_try_is_queued(api, blip):
    job_id = await api.new_job(blip)
    await tell_progress(api, job_id, 0.5)
    await until(lambda: api.service.results.progress(job_id, "live"))
    mark = api.records.mark(job_id, "live")
    api.records.put_mark(job_id, "live", mark.model_copy(update={"topic": Topic.JOBS_RETRY, "attempt": 1}))
    view = await state(api, job_id)
    assert view["state"] == "queued"
    assert "progress" not in view
    api.records.put_mark(job_id, "live", mark)
    assert (await state(api, job_id))["state"] == "running"


async def test_a_failed_job(api, blip):
    job_id = await api.new_job(blip)
    api.records.put_error(job_id, "live", ErrorInfo(code="engine_crashed", detail="it died"))
    view = await state(api, job_id)
    assert (view["state"], view["error"]) == ("failed", {"code": "engine_crashed", "detail": "it died"})
    document = is_problem(await api.client.get(f"/api/v1/jobs/{job_id}/result"), 500, "engine_crashed")
    assert (document["detail"], document["job"]) == ("it died", f"/api/v1/jobs/{job_id}")


CALLS = [
    ("GET", ""),
    ("GET", "/result"),
    ("POST", "/cancel"),
    ("DELETE", ""),
]


@pytest.mark.parametrize("job_id", [UNKNOWN, "7", "..%2f..%2flayout", UNKNOWN.replace("7", "4", 1), "x" * 5000, "%00"])
@pytest.mark.parametrize("method, rest", CALLS)
async def test_an_unknown_or_malformed_id(api, job_id, method, rest):
    response = await api.client.request(method, f"/api/v1/jobs/{job_id}{rest}")
    assert response.status_code == 404
    assert response.json()["code"] in {"job_not_found", "not_found"}


@pytest.mark.parametrize("method, rest", CALLS)
async def test_the_job_of_another_key_is_not_there(api, blip, method, rest):
    job_id = await api.new_job(blip)
    before = api.kept()
    response = await api.client.request(method, f"/api/v1/jobs/{job_id}{rest}", headers={"x-api-key": OTHER_KEY})
    unknown = await api.client.request(method, f"/api/v1/jobs/{UNKNOWN}{rest}", headers={"x-api-key": OTHER_KEY})
    is_problem(response, 404, "job_not_found")
    assert response.json()["detail"].replace(job_id, UNKNOWN) == unknown.json()["detail"]
    assert api.kept() == before


async def test_own_jobs_are_listed_newest_first_in_pages(api, blip):
    ids = [await api.new_job(blip) for _ in range(5)]
    await api.client.post("/api/v1/jobs", files={"audio": blip.read_bytes()}, headers={"x-api-key": OTHER_KEY})
    found, after = [], None
    for _ in range(3):
        page = (await api.client.get("/api/v1/jobs", params={"limit": 2} | ({"after": after} if after else {}))).json()
        found += [job["id"] for job in page["jobs"]]
        after = page.get("next")
    assert (found, after) == (ids[::-1], None)


async def test_a_result_in_the_format_that_is_asked_for(api, blip):
    job_id = await api.new_job(blip)
    url = f"/api/v1/jobs/{job_id}/result"
    not_yet = await api.client.get(url)
    assert is_problem(not_yet, 409, "result_not_ready")["job"] == f"/api/v1/jobs/{job_id}"
    assert "retry-after" in not_yet.headers

    await complete(api, job_id)
    json = await api.client.get(url)
    assert json.headers["content-type"] == "application/json"
    assert json.json() == result(job_id).model_dump(exclude_none=True)
    rttm = f"SPEAKER {job_id} 1 0.120 4.440 <NA> <NA> SPEAKER_00 <NA> <NA>\n"
    for asked in (
        await api.client.get(url, params={"format": "rttm"}),
        await api.client.get(url, headers={"accept": "text/x-rttm"}),
        await api.client.get(url, headers={"accept": "application/json;q=0.5, text/*"}),
    ):
        assert asked.headers["content-type"].startswith("text/x-rttm")
        assert asked.headers["vary"] == "Accept"
        assert asked.text == rttm
    is_problem(await api.client.get(url, params={"format": "docx"}), 406, "not_acceptable")
    is_problem(await api.client.get(url, headers={"accept": "image/png"}), 406, "not_acceptable")


async def test_the_result_of_another_run(api, blip):
    job_id = await api.new_job(blip)
    url = f"/api/v1/jobs/{job_id}/result"
    await complete(api, job_id)
    is_problem(await api.client.get(url, params={"run": "again"}), 404, "job_not_found")
    is_problem(await api.client.get(url, params={"run": "../live"}), 422, "invalid_request")
    api.records.put_result(job_id, "again", result(job_id, "again"))
    assert (await api.client.get(url, params={"run": "again"})).json()["run"] == "again"


async def test_a_cancel_is_stored_and_told(api, blip):
    job_id = await api.new_job(blip)
    for _ in range(2):
        response = await api.client.post(f"/api/v1/jobs/{job_id}/cancel")
        assert (response.status_code, response.json()["state"]) == (200, "cancelled")
    [record] = api.bus.records(Topic.JOB_CONTROL)
    told = Event.parse(record.headers, record.value).read(CANCEL_REQUESTED, CancelRequested)
    assert (told.job_id, told.run) == (job_id, "live")
    is_problem(await api.client.get(f"/api/v1/jobs/{job_id}/result"), 409, "job_cancelled")


async def test_a_cancel_after_the_end_changes_nothing(api, blip):
    job_id = await api.new_job(blip)
    await complete(api, job_id)
    response = await api.client.post(f"/api/v1/jobs/{job_id}/cancel")
    assert (response.status_code, response.json()["state"]) == (200, "succeeded")
    assert api.bus.records(Topic.JOB_CONTROL) == []


async def test_only_a_run_that_exists_can_be_cancelled(api, blip):
    job_id = await api.new_job(blip)
    url = f"/api/v1/jobs/{job_id}/cancel"
    is_problem(await api.client.post(url, params={"run": "later"}), 404, "job_not_found")
    assert not api.records.ended(job_id, "later")
    mark = api.records.mark(job_id, "live")
    assert mark is not None
    api.records.put_mark(job_id, "later", mark)
    assert (await api.client.post(url, params={"run": "later"})).json()["state"] == "cancelled"
    assert api.records.outcome(job_id, "later") == (JobState.CANCELLED, CANCELLED)


async def test_a_cancel_without_a_broker_is_only_late(api, blip):
    job_id = await api.new_job(blip)
    api.bus.break_down()
    response = await api.client.post(f"/api/v1/jobs/{job_id}/cancel")
    assert (response.status_code, response.json()["state"]) == (200, "cancelled")
    assert api.records.outcome(job_id, "live") == (JobState.CANCELLED, CANCELLED)


async def test_a_cancel_does_not_wait_long_for_the_broker(api, blip, monkeypatch):
    job_id = await api.new_job(blip)
    monkeypatch.setattr("turnstream.cancelling.PUBLISH_LIMIT", 0.01)
    monkeypatch.setattr(api.bus, "publish", lambda *_, **__: asyncio.Event().wait())
    assert (await api.client.post(f"/api/v1/jobs/{job_id}/cancel")).status_code == 200


@pytest.mark.parametrize("ended", [True, False])
async def test_erasing_removes_everything(api, blip, ended):
    job_id, other = await api.new_job(blip), await api.new_job(blip)
    if ended:
        await complete(api, job_id)
    response = await api.client.delete(f"/api/v1/jobs/{job_id}")
    assert (response.status_code, response.content) == (204, b"")
    assert not [key for key in api.kept() if job_id in key]
    assert [key for key in api.kept() if other in key]
    assert len(api.bus.records(Topic.JOB_CONTROL)) == (0 if ended else 1)
    is_problem(await api.client.get(f"/api/v1/jobs/{job_id}"), 404, "job_not_found")


async def test_a_job_that_a_worker_completes(api, blip):
    async with working(api):
        job_id = await api.new_job(blip)
        await until(lambda: api.records.mark(job_id, "live") is None)
    assert (await api.client.get(f"/api/v1/jobs/{job_id}/result")).json()["num_speakers"] == 1
    assert api.records.mark(job_id, "live") is None

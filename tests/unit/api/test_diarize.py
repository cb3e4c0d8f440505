"""One call from recording to turns, and the waiting behind it."""

import asyncio

import pytest

from producer_api import results
from schemas.errors import ErrorInfo, StoreUnavailable
from schemas.topics import Topic
from tests.support.api import complete, is_problem, until, working


async def diarize(api, recording, **fields):
    files = {"audio": (recording.name, recording.read_bytes())}
    return await api.client.post("/api/v1/diarize/file", files=files, data=fields)


async def test_the_answer_is_the_result(api, blip):
    async with working(api):
        response = await diarize(api, blip, min_speakers="1", max_speakers="5")
    assert response.status_code == 200
    answer = response.json()
    assert answer["segments"] == [{"speaker": "SPEAKER_00", "start": 0.12, "end": 4.56}]
    assert (answer["num_speakers"], answer["performance"]) == (1, 1.25)
    assert api.records.job(answer["job_id"]).lane == "interactive"


async def test_a_missed_event_only_delays(api, blip, monkeypatch):
    monkeypatch.setattr(results, "POLL", 0.01)
    async with working(api, event=False):
        assert (await diarize(api, blip)).status_code == 200


async def test_a_store_that_is_away_for_a_while_only_delays(api, blip, monkeypatch):
    monkeypatch.setattr(results, "POLL", 0.01)
    call = asyncio.create_task(diarize(api, blip))
    await until(lambda: api.service.results._waiters and api.bus.records(Topic.JOBS) and not api.spools())
    [record] = api.bus.records(Topic.JOBS)
    looked = asyncio.Event()
    ending = api.records.ending

    def away(*run):
        loop.call_soon_threadsafe(looked.set)
        raise StoreUnavailable("away")

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(api.records, "ending", away)
    await looked.wait()
    monkeypatch.setattr(api.records, "ending", ending)
    await complete(api, record.key.decode(), event=False)
    assert (await call).status_code == 200


async def test_an_event_is_enough(api, blip, monkeypatch):
    monkeypatch.setattr(results, "POLL", 60)
    async with working(api):
        assert (await diarize(api, blip)).status_code == 200


async def test_a_result_event_that_is_none_hurts_nobody(api, blip):
    await api.bus.publish(Topic.DIARIZATION_RESULTS, key=None, value=None)
    await api.bus.publish(Topic.DIARIZATION_RESULTS, key=None, value=b"\xff", headers=(("ce_id", b"\xff"),))
    async with working(api):
        assert (await diarize(api, blip)).status_code == 200


async def test_after_the_limit_the_job_goes_on(start, blip):
    async with start(wait_limit=0.05) as api:
        response = await diarize(api, blip)
        document = is_problem(response, 504, "wait_expired")
        address = document["job"]
        assert response.headers["location"] == address
        assert int(response.headers["retry-after"]) > 0
        await complete(api, address.rsplit("/", 1)[-1])
        assert (await api.client.get(f"{address}/result")).status_code == 200
        assert not api.service.results._waiters


async def test_a_failed_job_answers_with_its_error(api, blip):
    call = asyncio.create_task(diarize(api, blip))
    await until(lambda: api.bus.records(Topic.JOBS))
    [record] = api.bus.records(Topic.JOBS)
    job_id = record.key.decode()
    api.records.put_error(job_id, "live", ErrorInfo(code="audio_too_long", detail="13 hours"))
    api.service.results.wake(job_id, "live")
    assert is_problem(await call, 422, "audio_too_long")["job"].endswith(job_id)


async def test_a_cancelled_job_ends_the_wait(api, blip):
    call = asyncio.create_task(diarize(api, blip))
    await until(lambda: api.bus.records(Topic.JOBS))
    [record] = api.bus.records(Topic.JOBS)
    await api.client.post(f"/api/v1/jobs/{record.key.decode()}/cancel")
    is_problem(await call, 409, "job_cancelled")


async def test_hanging_up_cancels_nothing(api, blip):
    call = asyncio.create_task(diarize(api, blip))
    await until(lambda: api.bus.records(Topic.JOBS))
    call.cancel()
    await asyncio.wait([call])
    await until(lambda: not api.service.results._waiters)
    [record] = api.bus.records(Topic.JOBS)
    assert not api.records.ended(record.key.decode(), "live")
    assert api.records.job(record.key.decode())


async def test_the_number_of_waiting_callers_is_bounded(api, blip, monkeypatch):
    monkeypatch.setattr(results, "MAX_WAITERS", 1)
    first = asyncio.create_task(diarize(api, blip))
    await until(lambda: api.bus.records(Topic.JOBS))
    response = await diarize(api, blip)
    is_problem(response, 503, "busy")
    assert "retry-after" in response.headers
    assert len(api.bus.records(Topic.JOBS)) == 1
    await complete(api, api.bus.records(Topic.JOBS)[0].key.decode())
    assert (await first).status_code == 200
    async with working(api):
        assert (await diarize(api, blip)).status_code == 200


async def test_a_refused_upload_leaves_no_waiter(api, tmp_path):
    (tmp_path / "x.wav").write_bytes(b"no sound")
    assert (await diarize(api, tmp_path / "x.wav")).status_code == 422
    assert not api.service.results._waiters


@pytest.mark.parametrize("field", ["operation", "lane"])
async def test_fields_of_jobs_are_not_known_here(api, blip, field):
    is_problem(await diarize(api, blip, **{field: "diarize"}), 422, "invalid_request")


async def test_a_service_that_stops_sends_waiting_callers_away(api, blip):
    call = asyncio.create_task(diarize(api, blip))
    await until(lambda: api.bus.records(Topic.JOBS))
    api.service.results.release()
    is_problem(await call, 504, "wait_expired")


async def test_progress_is_kept_for_a_bounded_number_of_jobs(api, monkeypatch):
    from tests.unit.api.test_jobs import tell_progress

    monkeypatch.setattr(results, "MAX_PROGRESS", 2)
    ids = [f"01890000-0000-7000-8000-00000000000{n}" for n in range(3)]
    for job_id in ids:
        await tell_progress(api, job_id, 0.5)
    await until(lambda: api.service.results.progress(ids[2], "live"))
    assert api.service.results.progress(ids[0], "live") is None
    assert api.service.results.progress(ids[1], "live")

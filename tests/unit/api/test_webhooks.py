"""Webhooks of a running service: what is sent, what is refused, what is told of them."""

import asyncio

import httpx
import pytest

from schemas.errors import ErrorInfo, SettingsInvalid
from schemas.jobs import JobView
from schemas.results import DiarizationResult
from tests.support.api import OTHER_KEY, complete, is_problem, until
from tests.support.receivers import LOCAL, OTHER_SECRET, SECRET, Receiver
from tests.support.stores import closed_port


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
async def api(start):
    async with start(**LOCAL) as api:
        yield api


async def submitted(api, blip, url: str, **fields: str) -> str:
    response = await api.submit(blip, webhook_url=url, **fields)
    assert response.status_code == 202, response.text
    return response.json()["id"]


async def webhook(api, job_id: str, run: str = "live") -> dict:
    response = await api.client.get(f"/api/v1/jobs/{job_id}/webhook", params={"run": run})
    assert response.status_code == 200, response.text
    return response.json()


async def settled(api, job_id: str, state: str = "delivered", attempts: int = 1) -> dict:
    async with asyncio.timeout(20):
        while True:
            seen = await webhook(api, job_id)
            if seen["state"] == state and len(seen["attempts"]) >= attempts:
                return seen
            await asyncio.sleep(0.02)


def queue(api) -> list[str]:
    return [info.key for info in api.store.list("webhooks/")]


async def test_a_result_is_told(api, blip, receiver):
    job_id = await submitted(api, blip, receiver.url, num_speakers="1")
    before = await webhook(api, job_id)
    assert before == {"job_id": job_id, "run": "live", "url": receiver.url, "state": "pending", "attempts": []}
    await complete(api, job_id)
    after = await settled(api, job_id)
    assert [attempt["status"] for attempt in after["attempts"]] == [204]
    assert "next" not in after
    [received] = receiver.received
    assert received.path == "/hook"
    assert received.id == f"{job_id}/live"
    assert received.headers["content-type"] == "application/json"
    said = received.verified()
    assert said["type"] == "diarization.completed"
    job = JobView.model_validate(said["data"]["job"])
    assert (job.id, job.state, job.params["num_speakers"]) == (job_id, "succeeded", 1)
    result = (await api.client.get(said["data"]["result_url"])).json()
    assert said["data"]["result"] == result
    assert DiarizationResult.model_validate(result).num_speakers == 1
    await until(lambda: queue(api) == [])


async def test_a_failure_and_a_cancel_are_told(api, blip, receiver):
    failed = await submitted(api, blip, receiver.url)
    api.records.put_error(failed, "live", ErrorInfo(code="engine_failed", detail="so it goes"))
    api.service.results.wake(failed, "live")
    await settled(api, failed)
    cancelled = await submitted(api, blip, receiver.url)
    assert (await api.client.post(f"/api/v1/jobs/{cancelled}/cancel")).status_code == 200
    await settled(api, cancelled)
    first, second = (received.verified() for received in receiver.received)
    assert first["type"] == "diarization.failed"
    assert first["data"]["job"]["error"] == {"code": "engine_failed", "detail": "so it goes"}
    assert second["type"] == "diarization.cancelled"
    assert second["data"].keys() == {"job"}


async def test_a_run_has_a_webhook_of_its_own_and_its_dots_are_no_part_of_what_is_signed(api, blip, receiver):
    job_id = await submitted(api, blip, f"{receiver.url}/first")
    await complete(api, job_id)
    form = {"run": (None, "v1.2"), "num_speakers": (None, "2"), "webhook_url": (None, f"{receiver.url}/second")}
    for _ in range(2):  # the same call again is the same run
        assert (await api.client.post(f"/api/v1/jobs/{job_id}/runs", files=form)).status_code == 202
    form["webhook_url"] = (None, f"{receiver.url}/third")
    is_problem(await api.client.post(f"/api/v1/jobs/{job_id}/runs", files=form), 409, "run_exists")
    api.records.put_error(job_id, "v1.2", ErrorInfo(code="engine_failed", detail="no"))
    api.service.results.wake(job_id, "v1.2")
    await until(lambda: len(receiver.received) == 2)
    told = {received.path: received for received in receiver.received}
    assert told["/hook/second"].id == f"{job_id}/v1%2E2"
    data = told["/hook/second"].verified()["data"]
    assert (data["job"]["run"], data["job"]["params"]["num_speakers"]) == ("v1.2", 2)


async def test_a_run_without_one_is_not_told_where_its_job_is(api, blip, receiver):
    job_id = await submitted(api, blip, receiver.url)
    await complete(api, job_id)
    response = await api.client.post(f"/api/v1/jobs/{job_id}/runs", files={"num_speakers": (None, "2")})
    run = response.json()["run"]
    is_problem(await api.client.get(f"/api/v1/jobs/{job_id}/webhook", params={"run": run}), 404, "webhook_not_found")


async def test_the_default_is_for_jobs_that_name_none(start, blip, receiver):
    async with start(**LOCAL, webhook_url=f"{receiver.url}/default?token=secret") as api:
        job_id = await api.new_job(blip)
        own = await submitted(api, blip, f"{receiver.url}/own")
        for each in (job_id, own):
            await complete(api, each)
            await settled(api, each)
        assert (await webhook(api, job_id))["url"] == f"{receiver.url}/default?token=***"
    assert {received.path for received in receiver.received} == {"/hook/default?token=secret", "/hook/own"}


async def test_the_same_run_again_is_the_same_whatever_is_set_for_all_by_then(start, blip, receiver):
    async def again(api) -> httpx.Response:
        return await api.client.post(f"/api/v1/jobs/{job_id}/runs", files={"run": (None, "three")})

    async with start(**LOCAL, webhook_url=f"{receiver.url}/first") as api:
        job_id = await api.new_job(blip)
        await complete(api, job_id)
        first = await again(api)
        store, bus = api.store, api.bus
    for default in ({"webhook_url": f"{receiver.url}/second"}, {}):
        async with start(**LOCAL, **default, store=store, bus=bus) as api:
            assert ((answer := await again(api)).status_code, answer.json()) == (202, first.json())
            assert (await webhook(api, job_id, "three"))["url"] == f"{receiver.url}/first"


async def test_both_secrets_sign(start, blip, receiver):
    async with start(**LOCAL | {"webhook_secret": f"{SECRET} {OTHER_SECRET}"}) as api:
        job_id = await submitted(api, blip, receiver.url)
        await complete(api, job_id)
        await settled(api, job_id)
    [received] = receiver.received
    assert received.verified(SECRET) == received.verified(OTHER_SECRET)


async def test_what_was_ended_while_nobody_listened_is_told_after_the_start(start, blip, receiver):
    async with start(**LOCAL) as api:
        job_id = await submitted(api, blip, receiver.url)
        await complete(api, job_id, event=False)
        store, bus = api.store, api.bus
    assert receiver.received == []
    async with start(**LOCAL, store=store, bus=bus) as api:
        await settled(api, job_id)
    assert [received.id for received in receiver.received] == [f"{job_id}/live"]


async def test_redelivery(api, blip, receiver):
    receiver.answer = lambda received: 410
    job_id = await submitted(api, blip, receiver.url)
    redeliver = f"/api/v1/jobs/{job_id}/webhook/redeliver"
    is_problem(await api.client.post(redeliver), 409, "result_not_ready")
    await complete(api, job_id)
    failed = await settled(api, job_id, "failed")
    assert [attempt["status"] for attempt in failed["attempts"]] == [410]
    receiver.answer = lambda received: 200
    response = await api.client.post(redeliver)
    assert (response.status_code, response.json()["state"]) == (202, "pending")
    assert len((await settled(api, job_id, attempts=2))["attempts"]) == 2
    first, second = receiver.received
    assert (first.id, first.body) == (second.id, second.body)
    await until(lambda: queue(api) == [])


async def test_nobody_is_told_of_somebody_elses_webhook(api, blip, receiver):
    job_id = await submitted(api, blip, receiver.url)
    stranger = {"x-api-key": OTHER_KEY}
    where = f"/api/v1/jobs/{job_id}/webhook"
    is_problem(await api.client.get(where, headers=stranger), 404, "job_not_found")
    is_problem(await api.client.post(f"{where}/redeliver", headers=stranger), 404, "job_not_found")
    is_problem(await api.client.get(where, headers={"x-api-key": "none"}), 401, "unauthorized")
    is_problem(await api.client.get(where, params={"run": "other"}), 404, "job_not_found")


async def test_a_job_without_one(api, blip):
    job_id = await api.new_job(blip)
    is_problem(await api.client.get(f"/api/v1/jobs/{job_id}/webhook"), 404, "webhook_not_found")
    assert queue(api) == []


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/", "https://user@receiver.example/", "receiver.example", "http://127.1/"]
)
async def test_what_is_refused_leaves_nothing(api, blip, url):
    is_problem(await api.submit(blip, webhook_url=url), 422, "webhook_refused")
    with blip.open("rb") as audio:
        form = {"audio": audio, "webhook_url": (None, url)}
        is_problem(await api.client.post("/api/v1/diarize/file", files=form), 422, "webhook_refused")
    api.assert_nothing_stays()
    assert queue(api) == []


async def test_without_a_secret_none_is_taken(start, blip):
    async with start() as api:
        is_problem(await api.submit(blip, webhook_url="https://receiver.example/"), 422, "webhooks_disabled")
        api.assert_nothing_stays()


async def test_an_erased_job_tells_nothing_and_leaves_nothing(api, blip, receiver):
    job_id = await submitted(api, blip, receiver.url)
    assert (await api.client.delete(f"/api/v1/jobs/{job_id}")).status_code == 204
    await until(lambda: queue(api) == [] and api.kept() == [])


async def test_a_submission_that_is_refused_by_the_broker_leaves_no_webhook(start, blip, receiver):
    async with start(**LOCAL) as api:
        api.bus.break_down()
        assert (await api.submit(blip, webhook_url=receiver.url)).status_code == 503
        api.assert_nothing_stays()
        assert queue(api) == []


async def test_dead_receivers_delay_nobody(api, blip, receiver):
    dead = f"http://{closed_port()}/"
    jobs = [await submitted(api, blip, dead) for _ in range(3)]
    with Receiver() as slow:
        release = asyncio.Event()
        loop = asyncio.get_running_loop()
        slow.answer = lambda received: asyncio.run_coroutine_threadsafe(release.wait(), loop).result(60) and 200
        jobs += [await submitted(api, blip, slow.url) for _ in range(12)]
        for each in jobs:
            await complete(api, each)
        alive = await submitted(api, blip, receiver.url)
        await complete(api, alive)
        await settled(api, alive)
        assert len(slow.received) <= 8, "one receiver has only so many places"
        release.set()
        for each in jobs[3:]:
            await settled(api, each)
    assert (await settled(api, jobs[0], "pending"))["attempts"][0]["error"].startswith("no connection")


@pytest.mark.parametrize(
    "settings, says",
    [
        ({"webhook_secret": "secret"}, "WEBHOOK_SECRET"),
        ({"webhook_secret": "whsec_c2hvcnQ="}, "24 to 64"),
        ({"webhook_secret": f"{SECRET},whsec_!"}, "WEBHOOK_SECRET"),
        ({"webhook_url": "https://receiver.example/"}, "WEBHOOK_URL wants WEBHOOK_SECRET"),
        ({"webhook_secret": SECRET, "webhook_url": "http://receiver.example/"}, "WEBHOOK_URL: .*https"),
    ],
)
async def test_a_service_that_could_send_none_does_not_start(start, settings, says):
    with pytest.raises(SettingsInvalid, match=says) as caught:
        async with start(**settings):
            pass
    assert "c2hvcnQ" not in str(caught.value)

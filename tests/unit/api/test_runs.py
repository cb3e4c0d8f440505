"""Further runs of a job: named, merged, published like the first, listed, cancelled, erased."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import pytest

from producer_api import rerun
from producer_api.sweep import Action
from schemas.errors import BrokerUnavailable, ErrorInfo
from schemas.events import JOB_REQUESTED, Event
from schemas.jobs import JobRequested
from schemas.topics import Topic
from tests.support.api import OTHER_KEY, complete, is_problem, result
from turnstream.records import Mark, MarkState, RunRequest

GROUP = "turnstream"


async def ask(api, job_id: str, key: str | None = None, **fields: str):
    """POST the form; without a field it still is a multipart form."""
    form = {name: (None, value) for name, value in fields.items()} or {"run": (None, "")}
    headers = {"x-api-key": key} if key else {}
    return await api.client.post(f"/api/v1/jobs/{job_id}/runs", files=form, headers=headers)


async def again(api, job_id: str, **fields: str) -> dict:
    response = await ask(api, job_id, **fields)
    assert response.status_code == 202, response.text
    return response.json()


async def ended_job(api, blip, **fields: str) -> str:
    job_id = (await api.submit(blip, **fields)).json()["id"]
    await complete(api, job_id)
    return job_id


def requests(api) -> list[JobRequested]:
    events = [Event.parse(record.headers, record.value) for record in api.bus.records(Topic.JOBS)]
    return [event.read(JOB_REQUESTED, JobRequested) for event in events]


async def test_a_run_is_published_with_the_parameters_of_the_job_and_its_own(api, blip):
    job_id = await ended_job(api, blip, max_speakers="4", min_speakers="2")
    response = await ask(api, job_id, num_speakers="3", min_speakers="")
    view = response.json()
    assert (response.status_code, response.headers["location"]) == (202, f"/api/v1/jobs/{job_id}?run=run-2")
    assert (view["run"], view["state"]) == ("run-2", "queued")
    first, second = requests(api)
    own = {name: value for name, value in second.params.items() if "speakers" in name}
    assert own == {"num_speakers": 3, "max_speakers": 4}
    assert view["params"] == second.params
    assert (second.job_id, second.run, second.audio) == (job_id, "run-2", first.audio)
    assert second.created_at > first.created_at
    mark = api.records.mark(job_id, "run-2")
    assert mark.state is MarkState.QUEUED
    assert first.params == api.records.job(job_id).params == (await job(api, job_id))["params"]


async def job(api, job_id: str, run: str | None = None) -> dict:
    return (await api.client.get(f"/api/v1/jobs/{job_id}", params={"run": run} if run else {})).json()


async def test_each_run_has_its_own_state_and_result(api, blip):
    job_id = await ended_job(api, blip)
    await again(api, job_id, num_speakers="3")
    url = f"/api/v1/jobs/{job_id}/result"
    assert [(await job(api, job_id, run))["state"] for run in ("live", "run-2")] == ["succeeded", "queued"]
    not_yet = is_problem(await api.client.get(url, params={"run": "run-2"}), 409, "result_not_ready")
    assert not_yet["job"] == f"/api/v1/jobs/{job_id}?run=run-2"
    before = (await api.client.get(url)).content
    api.records.put_result(job_id, "run-2", result(job_id, "run-2"))
    assert (await job(api, job_id, "run-2"))["state"] == "succeeded"
    assert (await api.client.get(url, params={"run": "run-2"})).json()["run"] == "run-2"
    assert (await api.client.get(url)).content == before


async def test_a_run_that_failed_names_itself(api, blip):
    job_id = await ended_job(api, blip)
    await again(api, job_id)
    api.records.put_error(job_id, "run-2", ErrorInfo(code="engine_failed", detail="It did not work"))
    answer = await api.client.get(f"/api/v1/jobs/{job_id}/result", params={"run": "run-2"})
    assert is_problem(answer, 500, "engine_failed")["job"] == f"/api/v1/jobs/{job_id}?run=run-2"


async def test_runs_are_numbered_or_named_and_listed_in_their_order(api, blip):
    job_id = await ended_job(api, blip)
    names = [(await again(api, job_id, **fields))["run"] for fields in ({}, {"run": "another"}, {}, {"run": ""})]
    assert names == ["run-2", "another", "run-3", "run-4"]
    listed = (await api.client.get(f"/api/v1/jobs/{job_id}/runs")).json()["runs"]
    assert [(view["run"], view["state"]) for view in listed] == [
        ("live", "succeeded"),
        *((name, "queued") for name in names),
    ]


async def test_calls_at_once_get_names_of_their_own(api, blip):
    job_id = await ended_job(api, blip)
    views = await asyncio.gather(*(again(api, job_id, num_speakers=str(n)) for n in range(1, 7)))
    assert {view["run"] for view in views} == {f"run-{n}" for n in range(2, 8)}
    assert {(each.run, each.params["num_speakers"]) for each in requests(api)[1:]} == {
        (view["run"], view["params"]["num_speakers"]) for view in views
    }


async def test_the_same_call_again_computes_nothing_more(api, blip):
    job_id = await ended_job(api, blip)
    first = await again(api, job_id, run="three", num_speakers="3")
    assert await again(api, job_id, run="three", num_speakers="3") == first
    api.records.put_result(job_id, "three", result(job_id, "three"))
    api.records.remove_mark(job_id, "three")
    assert (await again(api, job_id, run="three", num_speakers="3"))["state"] == "succeeded"
    assert len(requests(api)) == 2
    is_problem(await ask(api, job_id, run="three", num_speakers="2"), 409, "run_exists")


async def test_a_name_that_is_taken(api, blip, monkeypatch):
    job_id = await ended_job(api, blip)
    api.records.put_result(job_id, "replay", result(job_id, "replay"))
    for name in ("live", "replay"):
        is_problem(await ask(api, job_id, run=name), 409, "run_exists")
    monkeypatch.setattr(rerun, "MAX_NUMBERED", 1)
    await again(api, job_id)
    is_problem(await ask(api, job_id), 409, "too_many_runs")
    await again(api, job_id, run="named")


@pytest.mark.parametrize(
    "fields, says",
    [
        ({"num_speakers": "0"}, "greater than or equal to 1"),
        ({"num_speakers": "9"}, "outside"),  # the job's own max_speakers
        ({"speakers": "2"}, "diarize takes no field 'speakers'; it takes run, webhook_url, num_speakers"),
        ({"lane": ""}, "takes no field 'lane'"),
        ({"run": "Über"}, "no name of a run"),
        ({"run": "../live"}, "no name of a run"),
        ({"audio": "x"}, "on that of its job"),
    ],
)
async def test_what_is_refused(api, blip, fields, says):
    job_id = await ended_job(api, blip, max_speakers="4")
    before = api.kept()
    assert says in is_problem(await ask(api, job_id, **fields), 422, "invalid_request")["detail"]
    assert (api.kept(), api.spools(), len(requests(api))) == (before, [], 1)


async def test_the_job_of_another_key_and_no_job_at_all(api, blip):
    job_id = await ended_job(api, blip)
    is_problem(await ask(api, job_id, key=OTHER_KEY), 404, "job_not_found")
    is_problem(await ask(api, "01890000-0000-7000-8000-000000000000"), 404, "job_not_found")
    for method, rest in (("GET", ""), ("GET", "/result"), ("POST", "/cancel")):
        response = await api.client.request(method, f"/api/v1/jobs/{job_id}{rest}", params={"run": "run-2"})
        is_problem(response, 404, "job_not_found")
    is_problem(
        await api.client.get(f"/api/v1/jobs/{job_id}/runs", headers={"x-api-key": OTHER_KEY}), 404, "job_not_found"
    )


async def test_without_a_broker_nothing_stays_but_what_the_name_means(api, blip):
    job_id = await ended_job(api, blip)
    before = api.kept()
    api.bus.break_down()
    is_problem(await ask(api, job_id, run="later"), 503, "broker_unavailable")
    is_problem(await ask(api, job_id, num_speakers="3"), 503, "broker_unavailable")
    names = "later", "run-2"
    assert set(api.kept()) == {*before, *(f"jobs/{job_id}/runs/{name}/request.json" for name in names)}
    for name in names:
        is_problem(await api.client.get(f"/api/v1/jobs/{job_id}", params={"run": name}), 404, "job_not_found")
    api.bus.mend()
    assert (await again(api, job_id, run="later"))["state"] == "queued"
    assert [(await again(api, job_id, num_speakers=number))["run"] for number in ("4", "3")] == ["run-3", "run-2"]


async def test_a_name_means_one_thing_also_where_the_broker_was_quicker_than_its_answer(api, blip, monkeypatch):
    """Whoever corrects a call that was answered with 503 must not get what the first one asked for."""
    job_id = await ended_job(api, blip)
    publish = api.bus.publish

    async def unanswered(*args, **kwargs):
        await publish(*args, **kwargs)
        raise BrokerUnavailable("no answer")

    with monkeypatch.context() as away:
        away.setattr(api.bus, "publish", unanswered)
        is_problem(await ask(api, job_id, num_speakers="3"), 503, "broker_unavailable")
        is_problem(await ask(api, job_id, run="three", num_speakers="3"), 503, "broker_unavailable")
    is_problem(await ask(api, job_id, run="three", num_speakers="4"), 409, "run_exists")
    assert (await again(api, job_id, num_speakers="4"))["run"] == "run-3"
    asked = [(each.run, each.params.get("num_speakers")) for each in requests(api)[1:]]
    assert asked == [("run-2", 3), ("three", 3), ("run-3", 4)]
    for name in ("run-2", "three"):
        api.records.put_result(job_id, name, result(job_id, name))
        assert (await job(api, job_id, name))["params"]["num_speakers"] == 3


@pytest.mark.parametrize("failing", ["first", "second"])
async def test_of_two_same_calls_at_once_one_fails(api, blip, monkeypatch, failing):
    """Whichever it is takes nothing away from the other."""
    job_id = await ended_job(api, blip)
    begun, answered = asyncio.Event(), asyncio.Event()
    publisher = api.service.reruns._publisher
    accept = publisher.accept
    calls = iter(("first", "second"))

    async def in_their_order(*args):
        """The first call ends when the second has ended."""
        call = next(calls)
        if call == "first":
            begun.set()
            await answered.wait()
        if call == failing:
            raise BrokerUnavailable("away")
        await accept(*args)

    monkeypatch.setattr(publisher, "accept", in_their_order)
    first = asyncio.create_task(ask(api, job_id, run="same", num_speakers="3"))
    await begun.wait()
    second = await ask(api, job_id, run="same", num_speakers="3")
    answered.set()
    statuses = {"first": (await first).status_code, "second": second.status_code}
    assert statuses == {"first": 202, "second": 202} | {failing: 503}
    assert api.records.mark(job_id, "same").state is MarkState.QUEUED
    assert (await job(api, job_id, "same"))["params"]["num_speakers"] == 3


async def test_a_call_that_fails_takes_nothing_from_a_twin_that_was_accepted_while_it_began(api, blip, monkeypatch):
    job_id = await ended_job(api, blip)
    reruns = api.service.reruns
    accept, look = reruns._publisher.accept, api.records.mark
    looked, accepted = asyncio.Event(), threading.Event()
    calls = iter(("slow", "quick"))
    loop = asyncio.get_running_loop()

    def slow_after_its_look(*id):
        found = look(*id)
        if next(calls, None) == "slow":
            loop.call_soon_threadsafe(looked.set)
            assert accepted.wait(30)
        return found

    monkeypatch.setattr(api.records, "mark", slow_after_its_look)
    slow = asyncio.create_task(ask(api, job_id, run="same", num_speakers="3"))
    await looked.wait()
    assert (await again(api, job_id, run="same", num_speakers="3"))["state"] == "queued"
    mark = look(job_id, "same")

    async def refuse(*_):
        raise BrokerUnavailable("away")

    monkeypatch.setattr(reruns._publisher, "accept", refuse)
    accepted.set()
    is_problem(await slow, 503, "broker_unavailable")
    assert look(job_id, "same") == mark
    assert mark.state is MarkState.QUEUED
    monkeypatch.setattr(reruns._publisher, "accept", accept)
    assert (await again(api, job_id, run="same", num_speakers="3"))["state"] == "queued"
    assert [each.run for each in requests(api)] == ["live", "same"]


async def test_a_call_that_was_broken_off_is_completed_by_the_next(api, blip):
    job_id = await ended_job(api, blip)
    view = await again(api, job_id, run="later", num_speakers="3")
    api.records.put_mark(job_id, "later", Mark(state=MarkState.ACCEPTING, at=datetime.now(UTC)))  # as before the event
    assert await again(api, job_id, run="later", num_speakers="3") == view
    assert api.records.mark(job_id, "later").state is MarkState.QUEUED
    assert [each.run for each in requests(api)] == ["live", "later", "later"]


async def test_a_job_that_is_erased_while_a_run_is_taken_in(api, blip, monkeypatch):
    job_id = await ended_job(api, blip)
    named = api.service.reruns._named

    def erased_meanwhile(*args):
        found = named(*args)
        api.records.erase(job_id)
        return found

    monkeypatch.setattr(api.service.reruns, "_named", erased_meanwhile)
    is_problem(await ask(api, job_id), 404, "job_not_found")
    assert api.kept() == []


async def test_the_sweep_leaves_nothing_of_a_run_whose_job_is_erased(api, blip):
    job_id = await ended_job(api, blip)
    api.records.erase(job_id)
    long_ago = datetime.now(UTC) - timedelta(days=1)
    api.records.request_run(job_id, "run-2", RunRequest(params={}, created_at=long_ago))
    api.records.put_mark(job_id, "run-2", Mark(state=MarkState.ACCEPTING, at=long_ago))
    assert (await api.service.sweeper.sweep()) == {Action.ERASE: 1}
    assert api.kept() == []


async def test_the_sweep_publishes_a_lost_run_with_its_own_parameters(api, blip):
    job_id = await ended_job(api, blip)
    await again(api, job_id, num_speakers="3")
    mark = api.records.mark(job_id, "run-2")
    api.bus.commit(GROUP, Topic.JOBS, mark.partition, mark.offset + 1)
    assert (await api.service.sweeper.sweep()) == {Action.PUBLISH: 1}
    assert requests(api)[2] == requests(api)[1]


async def test_the_sweep_takes_back_the_mark_of_a_run_that_was_never_accepted(api, blip):
    job_id = await ended_job(api, blip)
    before = api.kept()
    await again(api, job_id, num_speakers="3")
    long_ago = datetime.now(UTC) - timedelta(days=1)
    api.records.put_mark(job_id, "run-2", Mark(state=MarkState.ACCEPTING, at=long_ago))
    assert (await api.service.sweeper.sweep()) == {Action.ERASE: 1}
    assert set(api.kept()) == {*before, f"jobs/{job_id}/runs/run-2/request.json"}
    assert [view["run"] for view in (await api.client.get(f"/api/v1/jobs/{job_id}/runs")).json()["runs"]] == ["live"]
    assert (await again(api, job_id, num_speakers="3"))["run"] == "run-2"


async def test_a_run_is_cancelled_by_itself_and_erased_with_its_job(api, blip):
    job_id = await ended_job(api, blip)
    for _ in range(2):
        await again(api, job_id)
    response = await api.client.post(f"/api/v1/jobs/{job_id}/cancel", params={"run": "run-2"})
    assert (response.json()["run"], response.json()["state"]) == ("run-2", "cancelled")
    assert [(await job(api, job_id, run))["state"] for run in ("live", "run-3")] == ["succeeded", "queued"]
    api.records.keep_analysis(job_id, "0123", b"arrays")
    assert (await api.client.delete(f"/api/v1/jobs/{job_id}")).status_code == 204
    assert api.kept() == []
    assert len(api.bus.records(Topic.JOB_CONTROL)) == 2  # run-2 before, run-3 now


async def test_of_a_job_erased_while_it_is_cancelled_nothing_stays(api, blip, monkeypatch):
    job_id = await api.new_job(blip)
    put_cancelled = api.records.put_cancelled

    def erased_before(*id):
        api.records.erase(job_id)
        return put_cancelled(*id)

    monkeypatch.setattr(api.records, "put_cancelled", erased_before)
    await api.client.post(f"/api/v1/jobs/{job_id}/cancel")
    assert api.kept() == []


async def test_erasing_one_run_is_refused(api, blip):
    job_id = await ended_job(api, blip)
    response = await api.client.delete(f"/api/v1/jobs/{job_id}", params={"run": "live"})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert (await job(api, job_id, "live"))["state"] == "succeeded"

"""What the API does follows from the operation: its form, its recording or none, its formats, its topic."""

import asyncio
import base64
from dataclasses import replace

import pytest

from producer_api import backlog
from schemas.base import Form
from schemas.errors import InvalidRequest
from schemas.events import JOB_REQUESTED, Event, event_id
from schemas.jobs import JobRequested, Progress
from schemas.results import RunCompleted
from schemas.topics import JOB_EVENT_LIMIT, Topic
from tests.support.api import is_problem
from tests.support.speak import SPEAK, SpeakResult
from turnstream.operations import installed
from turnstream.records import reference

WITH_SPEAK = {**installed(), "speak": SPEAK}


@pytest.fixture
async def api(start):
    async with start(operations=WITH_SPEAK) as api:
        yield api


async def speak(api, **fields: str):
    form = [(name, (None, value)) for name, value in {"operation": "speak", **fields}.items()]
    return await api.client.post("/api/v1/jobs", files=form)


async def accepted(response) -> str:
    assert response.status_code == 202, response.text
    return response.json()["id"]


def spoken(job_id: str) -> SpeakResult:
    return SpeakResult.model_validate({**SPEAK.example, "job_id": job_id, "run": "live"})


async def test_an_operation_without_audio_needs_no_recording(api):
    response = await speak(api, text="Good morning", speed="1.5", lane="batch")
    job_id = await accepted(response)
    view = response.json()
    assert (view["operation"], view["lane"], view.get("audio")) == ("speak", "batch", None)
    assert view["params"] == {"text": "Good morning", "voice": "low", "speed": 1.5}
    [record] = api.bus.records(Topic.JOBS)
    requested = Event.parse(record.headers, record.value).read(JOB_REQUESTED, JobRequested)
    assert (requested.operation, requested.params, requested.audio) == ("speak", view["params"], None)
    layout = api.records.layout()
    assert record.position.partition % layout.slots == layout.slot["speak/batch"]
    assert f"jobs/{job_id}/audio" not in api.kept()
    assert api.spools() == []


async def test_a_recording_that_is_not_wanted_is_refused(api, blip):
    document = is_problem(await api.submit(blip, operation="speak", text="Hello"), 422, "invalid_request")
    assert "speak takes no recording" in document["detail"]
    api.assert_nothing_stays()


@pytest.mark.parametrize("operation", ["diarize", "transcribe", "transcript"])
async def test_a_recording_that_is_wanted_is_missed(api, operation):
    is_problem(await speak(api, operation=operation), 422, "audio_missing")
    api.assert_nothing_stays()


@pytest.mark.parametrize(
    ("operation", "field"),
    [("diarize", "language"), ("transcribe", "max_speakers"), ("transcribe", "langauge"), ("speak", "language")],
)
async def test_a_field_of_another_operation_is_refused_with_those_of_this_one(api, operation, field):
    document = is_problem(await speak(api, operation=operation, **{field: "2"}), 422, "invalid_request")
    audio = ["audio", "file"] if WITH_SPEAK[operation].audio else []
    takes = ", ".join((*audio, "operation", "lane", "webhook_url", *WITH_SPEAK[operation].params.model_fields))
    assert document["detail"] == f"{operation} takes no field {field!r}; it takes {takes}"


async def test_a_parameter_that_does_not_fit_is_named(api):
    document = is_problem(await speak(api, text="Hello", speed="17"), 422, "invalid_request")
    assert [error["field"] for error in document["errors"]] == ["speed"]
    is_problem(await speak(api), 422, "invalid_request")


class LongParams(Form):
    text: str


async def test_a_text_may_be_long_but_the_event_not_too_large(start):
    long = replace(SPEAK, params=LongParams)
    async with start(operations={**installed(), "speak": long}) as api:
        is_problem(await speak(api, text="a" * (64 * 1024 + 1)), 422, "invalid_request")
        document = is_problem(await speak(api, text="\1" * (64 * 1024)), 422, "invalid_request")
        assert str(JOB_EVENT_LIMIT) in document["detail"]
        api.assert_nothing_stays()
        await accepted(await speak(api, text="a" * (64 * 1024)))
        many = {f"field-{number}": "x" * (60 * 1024) for number in range(5)}
        assert "besides the recording" in is_problem(await speak(api, **many), 422, "invalid_request")["detail"]


async def test_an_operation_may_refuse_what_this_installation_cannot_do(start, monkeypatch, blip):
    seen = []

    def check(settings, params):
        seen.append((settings, params))
        raise InvalidRequest("the voice is hoarse today")

    monkeypatch.setattr("tests.support.speak.check", check, raising=False)
    picky = replace(SPEAK, check="tests.support.speak:check")
    async with start(operations={**installed(), "speak": picky}) as api:
        assert "hoarse" in is_problem(await speak(api, text="Hello"), 422, "invalid_request")["detail"]
        assert seen == [(api.settings, {"text": "Hello", "voice": "low", "speed": 1.0})]
        api.assert_nothing_stays()
        await api.new_job(blip)


@pytest.mark.parametrize("operation", ["diarize", "transcript"])
async def test_without_diarization_what_needs_it_is_refused(start, blip, operation):
    async with start(enable_diarization=False) as api:
        refused = await api.submit(blip, operation=operation)
        assert "ENABLE_DIARIZATION" in is_problem(refused, 503, "operation_disabled")["detail"]
        api.assert_nothing_stays()
        await accepted(await api.submit(blip, operation="transcribe"))


async def test_results_come_in_the_formats_of_their_operation(api, blip):
    job_id = await accepted(await speak(api, text="Hello"))
    url = f"/api/v1/jobs/{job_id}/result"
    api.records.put_result(job_id, "live", spoken(job_id))
    assert (await api.client.get(url)).json() == spoken(job_id).model_dump()
    for asked in (
        await api.client.get(url, params={"format": "wav"}),
        await api.client.get(url, headers={"accept": "audio/*"}),
    ):
        assert asked.headers["content-type"] == "audio/wav"
        assert asked.content == base64.b64decode(SPEAK.example["audio"])
    document = is_problem(await api.client.get(url, params={"format": "rttm"}), 406, "not_acceptable")
    assert document["detail"].endswith("there are json, wav")
    other = f"/api/v1/jobs/{await api.new_job(blip)}/result"
    document = is_problem(await api.client.get(other, params={"format": "wav"}), 406, "not_acceptable")
    assert document["detail"].endswith(f"there are {', '.join(installed()['diarize'].formats)}")


async def test_the_result_of_an_operation_that_is_gone_is_still_there_as_json(start):
    async with start(operations=WITH_SPEAK) as before:
        job_id = await accepted(await speak(before, text="Hello"))
        before.records.put_result(job_id, "live", spoken(job_id))
        async with start(store=before.store) as api:
            url = f"/api/v1/jobs/{job_id}/result"
            assert (await api.client.get(f"/api/v1/jobs/{job_id}")).json()["operation"] == "speak"
            assert (await api.client.get(url)).json() == spoken(job_id).model_dump()
            is_problem(await api.client.get(url, params={"format": "wav"}), 406, "not_acceptable")


async def test_the_ends_of_every_operation_are_heard(api):
    job_id = await accepted(await speak(api, text="Hello"))
    with api.service.results.waiter(job_id, "live") as waiter:
        api.records.put_result(job_id, "live", spoken(job_id))
        completed = RunCompleted(job_id=job_id, run="live", object=reference(api.records.ending(job_id, "live")))
        event = Event.of(SPEAK.completed, "/turnstream/worker", job_id, event_id(job_id, "live"), completed)
        assert event.type == "turnstream.speech.completed.v1"
        await api.bus.publish("speech-results", key=event.key, value=event.data, headers=event.headers)
        async with asyncio.timeout(10):
            await waiter.heard.wait()


async def test_it_is_described(api):
    document = (await api.client.get("/openapi.json")).json()
    content = document["paths"]["/api/v1/jobs"]["post"]["requestBody"]["content"]["multipart/form-data"]
    fields = content["schema"]["properties"]
    assert fields["text"]["description"] == "speak: what is to be said"
    assert fields["audio"]["description"].startswith("diarize, transcribe, transcript: ")
    assert content["schema"]["required"] == []
    result = document["paths"]["/api/v1/jobs/{job_id}/result"]["get"]["responses"]["200"]["content"]
    assert result["audio/wav"] == {"schema": {"type": "string", "format": "binary"}}
    assert {"$ref": "#/components/schemas/SpeakResult"} in result["application/json"]["schema"]["anyOf"]
    assert "SpeakResult" in document["components"]["schemas"]


# How many are ahead


async def ahead(api, job_id: str) -> int | None:
    return (await api.client.get(f"/api/v1/jobs/{job_id}")).json().get("ahead")


async def queue(api, count: int) -> list[str]:
    """Jobs in one partition: all of a kind, and there is one group."""
    return [await accepted(await speak(api, text=str(number))) for number in range(count)]


async def test_a_queued_job_tells_how_many_are_ahead(api, monkeypatch):
    monkeypatch.setattr(backlog, "FRESH", 0)
    ids = await queue(api, 4)
    assert [await ahead(api, job_id) for job_id in ids] == [0, 1, 2, 3]
    partition = api.records.mark(ids[0], "live").partition
    api.bus.commit(api.settings.consumer_group, Topic.JOBS, partition, 2)
    assert [await ahead(api, job_id) for job_id in ids] == [None, None, 0, 1]
    api.service.results._progress[ids[3], "live"] = Progress(stage="speaking", fraction=0.5)
    assert await ahead(api, ids[3]) is None
    api.records.put_result(ids[2], "live", spoken(ids[2]))
    assert await ahead(api, ids[2]) is None


async def test_the_broker_is_asked_once_for_many_callers(api, monkeypatch):
    monkeypatch.setattr(backlog, "FRESH", 3600)
    ids, asked, ask = await queue(api, 3), [], api.bus.reach

    async def reach(*what):
        asked.append(what)
        return await ask(*what)

    monkeypatch.setattr(api.bus, "reach", reach)
    assert await asyncio.gather(*(ahead(api, job_id) for job_id in ids * 5)) == [0, 1, 2] * 5
    assert len(asked) == 1


async def test_a_broker_that_does_not_say_holds_nobody_up(api, monkeypatch):
    monkeypatch.setattr(backlog, "FRESH", 0)
    monkeypatch.setattr(backlog, "PATIENCE", 0.01)
    [job_id] = await queue(api, 1)
    monkeypatch.setattr(api.bus, "reach", lambda *_: asyncio.Event().wait())
    assert await ahead(api, job_id) is None
    api.bus.break_down()
    assert (await api.client.get(f"/api/v1/jobs/{job_id}")).json()["state"] == "queued"


async def test_what_lies_in_a_topic_that_is_gone_has_no_place(api, monkeypatch):
    monkeypatch.setattr(backlog, "FRESH", 0)
    [job_id] = await queue(api, 1)
    mark = api.records.mark(job_id, "live")
    assert await api.service.backlog.ahead(mark, mark.topic_id) == 0
    assert await api.service.backlog.ahead(mark, "another") is None
    assert await api.service.backlog.ahead(None, mark.topic_id) is None

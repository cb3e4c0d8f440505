"""The client against answers of the service, without a socket."""

import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from schemas.errors import (
    AudioUnreadable,
    BrokerUnavailable,
    Busy,
    FileUnusable,
    InternalError,
    OperationDisabled,
    ResultNotReady,
    ServiceUnreachable,
    SettingsInvalid,
    Unauthorized,
    WaitExpired,
)
from schemas.jobs import DiarizeParams, JobState, Lane
from schemas.operation import Operation
from schemas.operations import DIARIZE, TRANSCRIPT
from schemas.results import TranscriptResult
from turnstream import client as module
from turnstream import patience
from turnstream.client import Client
from turnstream.patience import Patience

JOB = {
    "id": "01890a5d-ac96-774b-bcce-b302099a8057",
    "operation": "diarize",
    "state": "queued",
    "lane": "interactive",
    "params": {},
    "created_at": "2026-01-01T00:00:00Z",
    "audio": {"size": 3, "sha256": "0" * 64},
}


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses the client made, none of them waited for."""
    made: list[float] = []
    # The modules' own clock: threads of others go on sleeping for real.
    for each in (module, patience):
        monkeypatch.setattr(each, "time", SimpleNamespace(monotonic=time.monotonic, sleep=made.append))
    return made


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF" * 50_000)
    return path


def serve(*answers, key: str | None = None, **options) -> tuple[Client, list[httpx.Request]]:
    """A client whose calls get these answers, one after the other: responses, or errors to raise."""
    calls: list[httpx.Request] = []
    left = list(answers)

    def handle(request: httpx.Request) -> httpx.Response:
        request.read()
        calls.append(request)
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Client("http://service/", key, transport=httpx.MockTransport(handle), **options), calls


def example(operation: Operation) -> dict:
    return {**operation.example, "job_id": JOB["id"], "run": "live"}


def job(**changes) -> httpx.Response:
    return httpx.Response(200, json=JOB | changes)


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    body = json.dumps({"code": code, "detail": f"about {code}", "title": "Oh", "status": status})
    return httpx.Response(status, text=body, headers={"content-type": "application/problem+json"} | headers)


def test_submit_sends_the_file_the_form_and_the_key(recording: Path):
    client, calls = serve(httpx.Response(202, json=JOB), key="secret")
    sent: list[int] = []
    view = client.submit(recording, DiarizeParams(max_speakers=4), sent=sent.append)
    assert view.state is JobState.QUEUED
    (call,) = calls
    assert call.headers["x-api-key"] == "secret"
    assert b'name="max_speakers"\r\n\r\n4\r\n' in call.content
    assert b"num_speakers" not in call.content
    assert b'name="audio"; filename="a.wav"' in call.content
    assert recording.read_bytes() in call.content
    assert sum(sent) == recording.stat().st_size
    assert max(sent) <= 1 << 16


def test_an_operation_that_takes_no_recording_is_sent_as_a_form_all_the_same():
    client, calls = serve(httpx.Response(202, json={**JOB, "operation": "speak", "audio": None}))
    view = client.submit(None, {"text": "Hello", "speed": 1.5}, operation="speak", lane=Lane.BATCH)
    assert (view.operation, view.audio) == ("speak", None)
    (call,) = calls
    assert call.headers["content-type"].startswith("multipart/form-data")
    for field, value in {"operation": "speak", "lane": "batch", "text": "Hello", "speed": "1.5"}.items():
        assert f'name="{field}"\r\n\r\n{value}\r\n'.encode() in call.content
    assert b'name="audio"' not in call.content


def test_a_result_is_read_as_the_model_of_its_operation():
    client, calls = serve(*(httpx.Response(200, json=example(op)) for op in (DIARIZE, TRANSCRIPT, DIARIZE)))
    assert client.result("x").speakers == ["SPEAKER_00", "SPEAKER_01"]
    assert client.result("x", TranscriptResult, run="again").segments[0].words[0].speaker == "SPEAKER_00"
    assert calls[1].url.params["run"] == "again"
    with pytest.raises(InternalError, match="does not answer as Turnstream does"):
        client.result("x", TranscriptResult)


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [(401, "unauthorized", Unauthorized), (422, "audio_unreadable", AudioUnreadable), (599, "new_one", InternalError)],
)
def test_a_problem_document_is_raised_as_the_error_it_names(recording: Path, status, code, error):
    client, calls = serve(problem(status, code))
    with pytest.raises(error, match=f"about {code}"):
        client.submit(recording)
    assert len(calls) == 1


@pytest.mark.parametrize("body", ["<html>bad gateway</html>", "[]", "{}", '"text"'])
def test_an_answer_that_is_no_problem_document_says_where_it_came_from(body: str):
    client, _ = serve(httpx.Response(500, text=body))
    with pytest.raises(InternalError, match="http://service/api/v1/jobs/x answered 500"):
        client.job("x")


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_look_through_a_gateway_whose_service_is_away_is_repeated_and_an_upload_is_not(recording: Path, status: int):
    client, _ = serve(httpx.Response(status, text="<html>"), job())
    assert client.job("x").id == JOB["id"]
    client, calls = serve(httpx.Response(status, text="<html>"))
    with pytest.raises(InternalError, match=f"answered {status}"):
        client.submit(recording)
    assert len(calls) == 1


def test_a_key_of_any_letters_is_sent_as_the_service_compares_it():
    client, calls = serve(job(), key="schlüssel")
    client.job(JOB["id"])
    assert (b"x-api-key", "schlüssel".encode()) in calls[0].headers.raw


def test_an_answer_that_is_no_job_is_an_error_too():
    client, _ = serve(httpx.Response(200, json={"hello": "world"}))
    with pytest.raises(InternalError, match="does not answer as Turnstream does"):
        client.job("x")


def test_a_service_that_is_away_for_a_moment_is_tried_again_with_the_whole_file(recording: Path, pauses: list[float]):
    away = problem(503, "broker_unavailable", **{"retry-after": "3"})
    client, calls = serve(httpx.ConnectError("refused"), away, httpx.Response(202, json=JOB))
    assert client.submit(recording).id == JOB["id"]
    assert [len(call.content) for call in calls] == [len(calls[0].content)] * 3
    assert 0.25 <= pauses[0] <= 0.5
    assert pauses[1:] == [3]


def test_patience_ends(recording: Path, pauses: list[float]):
    away = [problem(503, "broker_unavailable", **{"retry-after": "3600"}) for _ in range(5)]
    client, calls = serve(*away)
    with pytest.raises(BrokerUnavailable):
        client.submit(recording)
    assert len(calls) == 5
    assert pauses == [10.0] * 4


@pytest.mark.parametrize("status", [429, 503])
def test_the_moment_that_a_service_asks_for_may_be_a_date(pauses: list[float], status: int):
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=8), usegmt=True)
    client, _ = serve(problem(status, "busy", **{"retry-after": at}), job())
    assert client.job("x").id == JOB["id"]
    assert 0 <= pauses[0] <= 8


def test_a_moment_that_cannot_be_read_is_none(pauses: list[float]):
    never = f"Fri, 01 May {'9' * 30} 11:00:00 GMT"
    client, _ = serve(problem(503, "busy", **{"retry-after": never}))
    with pytest.raises(Busy):
        client.job("x")
    assert not pauses


def test_patience_may_be_without_end_and_is_told_what_it_waits_for(recording: Path, pauses: list[float]):
    why: list[str] = []
    endless = Patience(tries=None, tell=lambda error: why.append(error.code))
    asked = problem(503, "busy", **{"retry-after": "2"})
    client, _ = serve(*[httpx.ConnectError("refused")] * 30, asked, httpx.Response(202, json=JOB), patience=endless)
    assert client.submit(recording).id == JOB["id"]
    assert why == ["service_unreachable"] * 30 + ["busy"]
    assert pauses[:30] == sorted(pauses[:30]) and max(pauses) == 10 and pauses[-1] == 2


def test_what_is_no_address_is_said_at_once_by_whoever_has_all_the_patience():
    client, _ = serve(httpx.UnsupportedProtocol("no"), patience=Patience(tries=None))
    with pytest.raises(SettingsInvalid, match="not an address"):
        client.job("x")


@pytest.mark.parametrize("failure", [httpx.ReadError("reset"), httpx.Response(502, text="<html>")])
def test_an_upload_with_an_idempotency_key_is_sent_again_whatever_broke(recording: Path, failure):
    client, calls = serve(failure, httpx.Response(202, json=JOB))
    assert client.submit(recording, idempotency_key="k").id == JOB["id"]
    assert [call.headers["idempotency-key"] for call in calls] == ["k", "k"]
    assert all(recording.read_bytes() in call.content for call in calls)


def test_an_upload_that_is_still_on_its_way_is_waited_for(recording: Path, pauses: list[float]):
    on_its_way = problem(409, "idempotency_key_in_use", **{"retry-after": "2"})
    client, _ = serve(on_its_way, httpx.Response(202, json=JOB))
    assert client.submit(recording, idempotency_key="k").id == JOB["id"]
    assert pauses == [2]
    client, _ = serve(problem(409, "result_not_ready", **{"retry-after": "2"}))
    with pytest.raises(ResultNotReady):
        client.result("x")


def test_a_name_that_is_no_text_is_sent_all_the_same(tmp_path: Path):
    odd = tmp_path / "a\udcff.wav"
    odd.write_bytes(b"RIFF")
    client, calls = serve(httpx.Response(202, json=JOB))
    client.submit(odd)
    assert b'filename="a?.wav"' in calls[0].content


def test_jobs_are_listed_to_the_last_page():
    pages = [{"jobs": [JOB, JOB], "next": "1-a"}, {"jobs": [JOB], "next": None}]
    client, calls = serve(*(httpx.Response(200, json=page) for page in pages))
    assert len(list(client.jobs())) == 3
    assert [call.url.params.get("after") for call in calls] == [None, "1-a"]


def test_a_look_may_wait_at_the_service_and_a_result_comes_as_it_was_written():
    client, calls = serve(job(state="succeeded"), httpx.Response(200, content=b"\xffRTTM"))
    assert client.job("x", run="again", wait=20).state is JobState.SUCCEEDED
    assert calls[0].headers["prefer"] == "wait=20"
    assert calls[0].extensions["timeout"]["read"] == 50
    assert client.result_as("x", "rttm", run="again") == b"\xffRTTM"
    assert dict(calls[1].url.params) == {"format": "rttm", "run": "again"}


def test_a_503_that_is_not_for_a_moment_is_not_tried_again(recording: Path):
    client, calls = serve(problem(503, "operation_disabled"))
    with pytest.raises(OperationDisabled):
        client.submit(recording)
    assert len(calls) == 1


def test_an_upload_that_broke_is_not_sent_twice_but_a_look_is_repeated(recording: Path):
    client, calls = serve(httpx.ReadError("reset"))
    with pytest.raises(ServiceUnreachable, match="broke: reset"):
        client.submit(recording)
    assert len(calls) == 1
    client, calls = serve(httpx.ReadError("reset"), job())
    assert client.job("x").id == JOB["id"]


def test_no_service_at_all_says_what_to_do():
    client, _ = serve(*[httpx.ConnectError("refused")] * 20)
    with pytest.raises(ServiceUnreachable, match="turnstream up"):
        client.cancel("x")


def test_wait_yields_each_view_until_the_end(pauses: list[float]):
    running = {"state": "running", "progress": {"stage": "embedding", "fraction": 0.5}}
    client, _ = serve(job(), job(**running), job(state="succeeded"))
    views = list(client.wait("x"))
    assert [view.state for view in views] == ["queued", "running", "succeeded"]
    assert views[1].progress.fraction == 0.5
    assert pauses == [0.2, 0.2]


def test_wait_gives_up_when_told_to(monkeypatch: pytest.MonkeyPatch):
    clock = iter(range(0, 1000, 30))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    client, _ = serve(*[job() for _ in range(10)])
    with pytest.raises(WaitExpired, match="it goes on"):
        list(client.wait("x", timeout=60))


def test_a_file_that_is_not_there(tmp_path: Path):
    client, _ = serve()
    with pytest.raises(FileUnusable, match="No such file"):
        client.submit(tmp_path / "none.wav")


@pytest.mark.parametrize(
    ("answer", "ready"),
    [(httpx.Response(200), True), (httpx.Response(503), False), (httpx.ConnectError("refused"), False)],
)
def test_ready(answer, ready: bool):
    client, _ = serve(answer)
    assert client.ready() is ready


def test_another_run_is_asked_for_waited_for_and_fetched_by_its_name():
    again = {**JOB, "run": "run-2"}
    answers = [httpx.Response(202, json=again), httpx.Response(200, json=again | {"state": "succeeded"})]
    client, calls = serve(*answers, httpx.Response(200, json=example(DIARIZE) | {"run": "run-2"}))
    view = client.rerun(JOB["id"], {"num_speakers": 3, "max_speakers": None})
    assert [each.state for each in client.wait(view.id, run=view.run)] == [JobState.SUCCEEDED]
    assert client.result(view.id, run=view.run).run == "run-2"
    assert [str(call.url) for call in calls[1:]] == [
        f"http://service/api/v1/jobs/{JOB['id']}{rest}?run=run-2" for rest in ("", "/result")
    ]
    for field in ("run", "max_speakers"):
        assert f'name="{field}"\r\n\r\n\r\n'.encode() in calls[0].content
    assert b'name="num_speakers"\r\n\r\n3\r\n' in calls[0].content


def test_a_run_with_a_name_is_asked_for_again_where_the_answer_was_lost_and_one_without_is_not():
    client, calls = serve(httpx.ReadError("broke"), httpx.Response(202, json=JOB | {"run": "mine"}))
    assert client.rerun(JOB["id"], DiarizeParams(num_speakers=2, embeddings=True), run="mine").run == "mine"
    assert b'name="embeddings"\r\n\r\nTrue\r\n' in calls[1].content
    client, calls = serve(httpx.ReadError("broke"))
    with pytest.raises(ServiceUnreachable):
        client.rerun(JOB["id"])
    assert len(calls) == 1


def test_runs_are_listed_and_cancelled():
    client, calls = serve(httpx.Response(200, json={"runs": [JOB, JOB | {"run": "run-2"}]}), job(state="cancelled"))
    assert [view.run for view in client.runs(JOB["id"])] == ["live", "run-2"]
    assert client.cancel(JOB["id"], run="run-2").state is JobState.CANCELLED
    assert calls[1].url.query == b"run=run-2"

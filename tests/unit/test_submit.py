"""`turnstream submit` against the answers of a service: what goes to the terminal, to standard output, to a file."""

from pathlib import Path

import httpx
import pytest

from schemas.errors import AudioTooLong, EngineFailed, JobCancelled, NotAcceptable, UnknownOperation
from schemas.operation import Operation
from schemas.operations import DIARIZE, TRANSCRIBE, TRANSCRIPT
from tests.support.speak import SPEAK
from turnstream import submit
from turnstream.client import Client
from turnstream.settings import Settings

ID = "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.fixture
def asked() -> list[httpx.Request]:
    """What the service was asked."""
    return []


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, asked: list[httpx.Request]):
    """Answers each job of an operation with its example, or with how it ended."""

    def serve(operation: Operation, **end) -> None:
        job = {"id": ID, "operation": operation.name, "lane": "interactive", "params": {}}
        job |= {"created_at": "2026-01-01T00:00:00Z", "state": "succeeded", **end}

        def handle(request: httpx.Request) -> httpx.Response:
            request.read()
            asked.append(request)
            run = request.url.params.get("run", "live")
            if request.url.path.endswith("/result"):
                return httpx.Response(200, json={**operation.example, "job_id": ID, "run": run})
            if request.url.path.endswith("/runs"):
                return httpx.Response(202, json=job | {"run": "run-2", "state": "queued"})
            return httpx.Response(202 if request.method == "POST" else 200, json=job)

        transport = httpx.MockTransport(handle)
        monkeypatch.setattr(submit, "Client", lambda url, key: Client(url, key, transport=transport))

    monkeypatch.setenv("COLUMNS", "100")
    return serve


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF")
    return path


def send(operation: Operation, file: Path | None, **how) -> None:
    params = operation.params.model_validate({"text": "Hello"} if operation is SPEAK else {})
    submit.submit(Settings(_env_file=None), file, operation, params, **how)


@pytest.mark.parametrize(
    ("operation", "says"),
    [
        (DIARIZE, ["SPEAKER_00", "0:04.56"]),
        (TRANSCRIBE, ["Hello, Anna. Hi."]),
        (TRANSCRIPT, ["SPEAKER_00", "Hello, Anna.", "SPEAKER_01", "0:04.6", "SPEAKER_00 0:04.4 61%"]),
    ],
)
def test_it_shows_what_was_found(service, recording, capsys, operation, says):
    service(operation)
    send(operation, recording)
    out, err = capsys.readouterr()
    assert err == ""
    assert not out.startswith("\n"), "nothing of the progress goes before it"
    assert all(part in out for part in says)


@pytest.mark.parametrize("operation", [DIARIZE, TRANSCRIBE, TRANSCRIPT], ids=lambda operation: operation.name)
def test_every_format_goes_alone_to_standard_output(service, recording, capsys, operation):
    service(operation)
    result = operation.result.model_validate({**operation.example, "job_id": ID, "run": "live"})
    for name, format_ in operation.formats.items():
        send(operation, recording, format_=name)
        out, err = capsys.readouterr()
        assert (out, bool(err)) == (format_.write(result), True), name


def test_bytes_go_to_standard_output_or_a_file_as_they_are(service, capfdbinary, tmp_path):
    service(SPEAK)
    sound = SPEAK.formats["wav"].write(SPEAK.result.model_validate({**SPEAK.example, "job_id": ID, "run": "live"}))
    send(SPEAK, None, format_="wav")
    assert capfdbinary.readouterr().out == sound
    send(SPEAK, None, format_="wav", out=tmp_path / "sounds" / "hello.wav")
    assert (tmp_path / "sounds" / "hello.wav").read_bytes() == sound
    send(SPEAK, None)
    assert b"sample_rate" in capfdbinary.readouterr().out


def test_what_the_job_ended_with_is_raised(service, recording):
    service(DIARIZE, state="failed", error={"code": "engine_failed", "detail": "it did not work"})
    with pytest.raises(EngineFailed, match="it did not work"):
        send(DIARIZE, recording)
    service(DIARIZE, state="cancelled")
    with pytest.raises(JobCancelled):
        send(DIARIZE, recording)


def test_it_says_which_job_it_was_and_how_long_everybody_spoke(service, recording, capsys):
    service(DIARIZE)
    send(DIARIZE, recording)
    out, _ = capsys.readouterr()
    assert f"job {ID}\n" in out
    assert "61%" in out and "39%" in out and "at once in 2.2% of" in out


def again(params: dict[str, str], **how) -> None:
    submit.rerun(Settings(_env_file=None), ID, params, **how)


def test_a_rerun_shows_what_its_run_found(service, asked, capsys):
    service(DIARIZE)
    again({"num_speakers": "3", "max_speakers": ""})
    out, err = capsys.readouterr()
    assert (err, f"job {ID}, run run-2\n" in out, "SPEAKER_01" in out) == ("", True, True)
    sent, fetched = asked[1], asked[-1]
    assert (sent.method, sent.url.path) == ("POST", f"/api/v1/jobs/{ID}/runs")
    assert b'name="num_speakers"\r\n\r\n3\r\n' in sent.content
    assert (fetched.url.path, fetched.url.params["run"]) == (f"/api/v1/jobs/{ID}/result", "run-2")


def test_a_rerun_hands_over_a_format_of_the_jobs_operation(service, capsys):
    service(TRANSCRIPT)
    again({}, format_="vtt")
    out, err = capsys.readouterr()
    assert (out.startswith("WEBVTT"), "run run-2" in err) == (True, True)
    with pytest.raises(NotAcceptable, match="it has json, srt, vtt, text, csv, rttm"):
        again({}, format_="wav")


def test_a_rerun_of_what_is_not_installed_here_says_so(service):
    service(SPEAK)
    with pytest.raises(UnknownOperation, match="speak"):
        again({})


def test_a_lost_answer_makes_no_second_job(monkeypatch, recording):
    keys: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        request.read()
        keys.append(request.headers["idempotency-key"])
        if len(keys) == 1:
            raise httpx.ReadTimeout("the answer was lost")
        return httpx.Response(422, json={"code": "audio_too_long", "title": "so it is"})

    transport = httpx.MockTransport(handle)
    monkeypatch.setattr(submit, "Client", lambda url, key: Client(url, key, transport=transport))
    for _ in range(2):
        with pytest.raises(AudioTooLong):
            send(DIARIZE, recording)
    first, again, another = keys
    assert first == again != another

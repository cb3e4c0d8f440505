"""`turnstream compare` against the answers of a service: for the eye, and for programs."""

import json

import httpx
import pytest

from schemas.errors import InvalidRequest, NotAcceptable
from schemas.operations import DIARIZE, TRANSCRIBE, TRANSCRIPT
from tests.unit.test_cli import run
from turnstream import compare, compare_replay
from turnstream.client import Client
from turnstream.settings import Settings

ID = "01890a5d-ac96-774b-bcce-b302099a8057"
OLDER = "01890a5d-0000-774b-bcce-b302099a8057"
OTHER = [
    {"speaker": "SPEAKER_00", "start": 0.12, "end": 4.56},
    {"speaker": "SPEAKER_00", "start": 4.6, "end": 7.25},
    {"speaker": "SPEAKER_00", "start": 7.5, "end": 8.0},
]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch):
    """A job with the runs live, other, and one that failed, and an older one, whose other run may be late."""
    monkeypatch.setenv("COLUMNS", "100")

    def serve(operation=DIARIZE, *, late: bool = False) -> None:
        job = {"id": ID, "operation": operation.name, "lane": "batch", "params": {}, "state": "succeeded"}
        job |= {"created_at": "2026-01-01T00:00:00Z"}
        states = {"live": "succeeded", "broken": "failed", "other": "succeeded"}

        def handle(request: httpx.Request) -> httpx.Response:
            run = request.url.params.get("run", "live")
            if request.url.path.endswith("/jobs"):
                older = [job | {"id": OLDER}, job | {"operation": "transcribe"}]
                first, last = {"jobs": [job], "next": "1-a"}, {"jobs": older, "next": None}
                return httpx.Response(200, json=last if "after" in request.url.params else first)
            if request.url.path.endswith("/runs"):
                found = states | ({"other": "running"} if late and OLDER in str(request.url) else {})
                views = [job | {"run": name, "state": state} for name, state in found.items()]
                return httpx.Response(200, json={"runs": views})
            if not request.url.path.endswith("/result"):
                return httpx.Response(200, json=job)
            turns = "segments" if operation is DIARIZE else "turns"
            return httpx.Response(
                200,
                json={**operation.example, "job_id": ID, "run": run}
                | ({turns: OTHER} if run == "other" and ID in str(request.url) else {}),
            )

        transport = httpx.MockTransport(handle)
        for module in (compare, compare_replay):
            monkeypatch.setattr(module, "Client", lambda url, key: Client(url, key, transport=transport))

    return serve


@pytest.mark.parametrize("operation", [DIARIZE, TRANSCRIPT], ids=lambda operation: operation.name)
def test_it_shows_how_two_runs_differ(service, capsys, operation):
    service(operation)
    assert run(capsys, "compare", ID, "--runs", "live,other")[:1] == (0,)


def test_what_it_shows(service, capsys):
    service()
    out = run(capsys, "compare", ID)[1]
    assert "other compared with live: 46.0% diarization error rate" in out
    assert "of 7.3 s of speech: 0.2 s missed, 0.5 s added, 2.6 s of another speaker" in out
    assert "2 turns, then 3: 1 added, 1 given to another speaker" in out
    assert "SPEAKER_01 live" in out and "nobody     other" in out
    assert "broken" not in out
    [given] = [line for line in out.splitlines() if line.startswith("given to")]
    assert "0:04.40 - 0:07.25  SPEAKER_01" in given and "0:04.60 - 0:07.25  SPEAKER_00" in given


def test_programs_read_all_of_it(service, capsys):
    service()
    code, out, err = run(capsys, "compare", ID, "--runs", "other,live", "--collar", "0.25", "--json")
    document = json.loads(out)
    assert (code, err, document["reference"], document["collar"]) == (0, "", "other", 0.25)
    [found] = document["runs"]
    assert found["run"] == "live"
    assert found["der"] == pytest.approx(
        sum(found["errors"][part] for part in ("missed", "false_alarm", "confusion")) / found["errors"]["speech"]
    )
    assert [change["kind"] for change in found["changes"]] == ["given", "removed"]


def test_what_cannot_be_compared_says_so(service):
    service()
    with pytest.raises(InvalidRequest, match="not two runs"):
        compare.compare_runs(Settings(_env_file=None), ID, ["live"])
    service(TRANSCRIBE)
    with pytest.raises(NotAcceptable, match="does not say who spoke when"):
        compare.compare_runs(Settings(_env_file=None), ID, ["live", "other"])


def test_all_jobs_of_a_replay_are_compared_the_worst_first(service, capsys):
    service()
    code, out, err = run(capsys, "compare", "--replay", "other")
    assert (code, err) == (0, "")
    assert "other compared with live, 2 jobs: 23.0% diarization error rate" in out
    assert "of 14.6 s of speech" in out
    assert "without a result" not in out
    worst, other = (line.split() for line in out.splitlines() if line.startswith("0189"))
    assert worst == [ID, "46.0%", "2", "->", "1", "2"]
    assert other == [OLDER, "0.0%", "2", "->", "2", "0"]
    document = json.loads(run(capsys, "compare", "--replay", "other", "--json")[1])
    assert document["der"] == pytest.approx(0.2298, abs=1e-3)
    assert [(job["job_id"], job["turns_changed"]) for job in document["jobs"]] == [(ID, 2), (OLDER, 0)]


def test_a_replay_that_nobody_knows_says_so(service, capsys):
    service()
    code, out, err = run(capsys, "compare", "--replay", "unknown")
    assert (code, out, err) == (1, "", "turnstream: no job has results of both live and unknown\n")


def test_jobs_of_a_replay_without_a_result_are_counted(service, capsys):
    service()
    says = "no job has results of both live and broken; without a result: 2 failed"
    assert run(capsys, "compare", "--replay", "broken") == (1, "", f"turnstream: {says}\n")
    service(late=True)
    out = run(capsys, "compare", "--replay", "other")[1]
    assert "other compared with live, 1 jobs: 46.0%" in out
    assert "without a result: 1 running\n" in out
    assert json.loads(run(capsys, "compare", "--replay", "other", "--json")[1])["lacking"] == {"running": 1}


@pytest.mark.parametrize("arguments", [[], [ID, "--replay", "other"], ["--replay", "other", "--runs", "live,other"]])
def test_it_wants_a_job_or_a_replay(capsys, arguments: list[str]):
    assert run(capsys, "compare", *arguments)[0] == 2

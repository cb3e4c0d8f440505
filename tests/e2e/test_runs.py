"""Further runs of a job on the embedded stack, by the commands that docs/diarization.md shows, and with the real model."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import JobNotFound, RunExists
from schemas.formats import to_rttm
from schemas.jobs import JobState
from schemas.results import DiarizationResult
from tests.support import recordings
from tests.support.stack import Stack, running_stack
from tests.support.waiting import until
from turnstream.client import Client
from turnstream.patience import Patience

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

DOCS = Path(__file__).parents[2] / "docs" / "diarization.md"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack"), ENGINE="scripted") as stack:
        yield stack


def tone(folder: Path, name: str) -> Path:
    return recordings.wav(recordings.tone(1), recordings.SAMPLE_RATE, folder / name)


def finished(client: Client, path: Path) -> str:
    job = client.submit(path)
    assert [*client.wait(job.id, timeout=120)][-1].state is JobState.SUCCEEDED
    return job.id


def test_each_run_has_one_end_of_its_own(stack: Stack, tmp_path: Path):
    with stack.client() as client:
        job_id = finished(client, tone(tmp_path, "talk.wav"))
        for name, params in (("run-2", {"num_speakers": 3}), ("three", {"max_speakers": 3})):
            view = client.rerun(job_id, params, run="" if name == "run-2" else name)
            assert (view.run, view.params["channels"]) == (name, "mix")
            assert view.params.items() >= params.items()
            assert [*client.wait(job_id, run=name, timeout=60)][-1].state is JobState.SUCCEEDED
            assert client.result(job_id, run=name).run == name
        assert client.result(job_id).run == "live"
        assert [(view.run, view.state.value) for view in client.runs(job_id)] == [
            (run, "succeeded") for run in ("live", "run-2", "three")
        ]
        with pytest.raises(RunExists):
            client.rerun(job_id, {"num_speakers": 2}, run="three")
        with pytest.raises(JobNotFound):
            client.job(job_id, run="four")
    ids = {f"{job_id}/{run}" for run in ("live", "run-2", "three")}
    told = until(lambda: ids <= (events := stack.event_ids()).keys() and events, 30)
    assert {told[id_] for id_ in ids} == {1}


def test_a_run_outlives_the_broker_with_its_parameters(stack: Stack, tmp_path: Path):
    with stack.client(patience=Patience(tries=20)) as client:
        job = client.submit(tone(tmp_path, "sleep-3.wav"))
        view = client.rerun(job.id, {"num_speakers": 5}, run="five")
        os.kill(stack.pids["broker"], signal.SIGKILL)
        for run in ("live", "five"):
            assert [*client.wait(job.id, run=run, timeout=120)][-1].state is JobState.SUCCEEDED
        assert client.job(job.id, run="five").params == view.params
        assert "num_speakers" not in client.job(job.id).params
        until(client.ready, 60)  # Apache Kafka takes a while to come back


def test_a_run_is_cancelled_by_itself(stack: Stack, tmp_path: Path):
    with stack.client() as client:
        job = client.submit(tone(tmp_path, "sleep-4.wav"))
        client.rerun(job.id, run="second")
        client.cancel(job.id, run="second")
        assert [*client.wait(job.id, timeout=60)][-1].state is JobState.SUCCEEDED
        assert client.job(job.id, run="second").state is JobState.CANCELLED


def test_the_commands_that_the_documentation_shows(stack: Stack, tmp_path: Path):
    """In their order, each after all that was asked before has its end."""
    with stack.client() as client:
        job_id = finished(client, tone(tmp_path, "talk.wav"))
        tone(tmp_path, "call.wav")
        commands = "".join(re.findall(r"^```sh\n(.*?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL)).splitlines()
        said = {command: shown(command, stack.url, job_id, tmp_path) for command in commands if settled(client, job_id)}
        runs = client.runs(job_id)
    assert all(said.values())
    asked = {view.run: (view.params.get("num_speakers"), view.params.get("min_duration_off")) for view in runs}
    assert asked == {"live": (None, None), "run-2": (3, None), "run-3": (3, None), "tidy": (None, 0.5)}
    assert [command.split()[1] for command in commands if command.startswith("turnstream")] == ["submit"] * 2 + [
        "rerun"
    ]
    listed = json.loads(said[commands[-1]])["runs"]
    assert [view["run"] for view in listed] == [*asked]


def settled(client: Client, job_id: str) -> bool:
    return until(lambda: all(view.state.ended for view in client.runs(job_id)), 60)


def shown(command: str, url: str, job_id: str, folder: Path) -> str:
    bin_ = Path(sys.executable).parent
    env = {
        "PATH": f"{bin_}:{os.environ['PATH']}",
        "URL": url,
        "TURNSTREAM_URL": url,
        "KEY": os.environ.get("API_KEY", ""),
        "JOB": job_id,
    }
    done = subprocess.run(
        ["bash", "-c", command],
        env=os.environ | env,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "urn:turnstream:problem" not in done.stdout, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.mark.model
def test_the_number_of_speakers_is_corrected_and_the_first_result_stays(real: Stack):
    with real.client() as client:
        job_id = finished(client, recordings.sample_wav())
        before = client.result(job_id)
        again = client.rerun(job_id, {"num_speakers": 1})
        assert [*client.wait(job_id, run=again.run, timeout=120)][-1].state is JobState.SUCCEEDED
        one, first = client.result(job_id, run=again.run), client.result(job_id)
        assert first == before
        assert (first.num_speakers, one.num_speakers) == (2, 1)
        assert one.timings.segmentation == one.timings.embedding == 0  # no network was asked
        fresh = client.submit(recordings.sample_wav(), {"num_speakers": 1})
        assert [*client.wait(fresh.id, timeout=120)][-1].state is JobState.SUCCEEDED
        full = client.result(fresh.id)
    assert (one.segments, one.exclusive_segments) == (full.segments, full.exclusive_segments)


@pytest.mark.model
def test_a_telephone_call_has_speakers_of_its_own_at_each_end(real: Stack, tmp_path: Path):
    said = recordings.sample_waveform()[6 * recordings.SAMPLE_RATE : 16 * recordings.SAMPLE_RATE]
    ends = np.stack([said, np.roll(said, len(said) // 2)])
    call, out = recordings.wav(ends, recordings.SAMPLE_RATE, tmp_path / "call.wav"), tmp_path / "call.json"
    command = [sys.executable, "-m", "turnstream", "submit", str(call), "--channels", "split", "--embeddings"]
    done = subprocess.run(
        [*command, "--out", str(out), "--url", real.url], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "CHANNEL_1_SPEAKER_00" in done.stdout
    result = DiarizationResult.model_validate_json(out.read_bytes())
    assert {turn.channel for turn in result.segments} == {0, 1}
    assert all(turn.speaker.startswith(f"CHANNEL_{turn.channel}_SPEAKER_") for turn in result.segments)
    assert [known.speaker for known in result.speaker_stats] == result.speakers
    assert sum(known.share for known in result.speaker_stats) == pytest.approx(1, abs=0.01)
    longest = max(result.speaker_stats, key=lambda known: known.share)
    assert len(longest.embedding or ()) == 256, result.speaker_stats
    assert {line.split()[2] for line in to_rttm(result).splitlines()} == {"1", "2"}
    assert 0 < result.overlap_share <= 1

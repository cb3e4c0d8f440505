"""The stack as a user runs it, with the scripted engine: it comes up, works, stops, and leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from confluent_kafka import Consumer

from schemas.jobs import JobState
from schemas.operations import DIARIZE
from schemas.results import DiarizationResult
from tests.support import recordings
from tests.support.stack import Stack, gone, running_stack
from tests.support.waiting import until
from turnstream.client import Client
from turnstream.patience import Patience

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]

TURNS = len(DIARIZE.example["segments"])
"""In what the scripted engine answers."""


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with running_stack(tmp_path, ENGINE="scripted") as stack:
        yield stack


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for all that it outlives."""
    with running_stack(tmp_path_factory.mktemp("stack"), ENGINE="scripted") as stack:
        yield stack


def short_recording(folder: Path, name: str = "short.wav") -> Path:
    return recordings.wav(recordings.tone(1), recordings.SAMPLE_RATE, folder / name)


def test_a_job_goes_all_the_way_and_sigterm_stops_everything_within_ten_seconds(stack: Stack, tmp_path: Path):
    with Client(stack.url) as client:
        job = client.submit(short_recording(tmp_path))
        states = [view.state for view in client.wait(job.id, timeout=60)]
        result = client.result(job.id)
    assert states[-1] is JobState.SUCCEEDED
    assert result.job_id == job.id
    assert len(result.segments) == TURNS

    family = stack.processes()
    assert {psutil.Process(pid) for pid in stack.pids.values()} <= set(family)
    subscriber = Consumer({"bootstrap.servers": stack.bootstrap, "group.id": "one-that-stays", "log_level": 0})
    subscriber.list_topics(timeout=10)
    assert stack.stop() < 10
    subscriber.close()
    assert "killed" not in stack.logs
    gone(family, within=0.5)
    assert "stopped" in stack.logs.splitlines()[-1]
    assert not (stack.data_dir / "run" / "stack.json").exists()


def test_kill_9_of_the_supervisor_leaves_no_orphan(stack: Stack):
    family = stack.processes()
    assert len(family) >= 5  # the supervisor, the broker, its guard, the API, the worker
    os.kill(stack.pid, signal.SIGKILL)
    gone(family, within=12)


@pytest.mark.parametrize("victim", ["api", "worker", "broker"])
def test_what_is_killed_is_started_again_and_jobs_go_on(lasting: Stack, tmp_path: Path, victim: str):
    pid = lasting.pids[victim]
    os.kill(pid, signal.SIGKILL)
    until(lambda: lasting.pids.get(victim, pid) != pid, 20)
    with Client(lasting.url, patience=Patience(tries=20)) as client:
        job = client.submit(short_recording(tmp_path))
        assert [view.state for view in client.wait(job.id, timeout=60)][-1] is JobState.SUCCEEDED


def test_of_two_workers_one_may_be_killed(tmp_path: Path):
    with running_stack(tmp_path, ENGINE="scripted", WORKERS="2") as stack:
        pids = stack.pids
        assert {"worker-1", "worker-2", "engine-1", "engine-2"} <= set(pids)
        addresses = {stack.worker(name)["probes"] for name in ("worker-1", "worker-2")}
        assert len(addresses) == 2
        for address in addresses:
            assert httpx.get(f"{address}/readyz").status_code == 200
            assert "turnstream_jobs_parked 0.0" in httpx.get(f"{address}/metrics").text.splitlines()

        os.kill(pids["worker-1"], signal.SIGKILL)
        with stack.client() as client:
            jobs = [client.submit(short_recording(tmp_path)).id for _ in range(4)]
            assert [list(client.wait(job, timeout=60))[-1].state for job in jobs] == [JobState.SUCCEEDED] * 4
        until(lambda: stack.pids.get("worker-1", pids["worker-1"]) != pids["worker-1"], 30)
        assert stack.pids["worker-2"] == pids["worker-2"]


def test_a_second_stack_on_the_same_directory_gets_one_line(lasting: Stack):
    command = [sys.executable, "-m", "turnstream", "up", "--data", str(lasting.data_dir), "--port", "0"]
    second = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert second.returncode == 2
    assert second.stderr.count("\n") == 1
    assert lasting.url in second.stderr
    assert httpx.get(f"{lasting.url}/readyz").status_code == 200


def submit(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "turnstream", "submit", *arguments, "--url", stack.url]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_submit_shows_the_timeline_and_writes_the_result(lasting: Stack, tmp_path: Path):
    out = tmp_path / "out" / "result.json"
    done = submit(lasting, str(short_recording(tmp_path)), "--max-speakers", "2", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert "speaker" in done.stdout
    assert "0:07.25" in done.stdout
    result = DiarizationResult.model_validate_json(out.read_bytes())
    assert len(result.segments) == TURNS


def test_submit_pipes_a_format_and_nothing_else(lasting: Stack, tmp_path: Path):
    done = submit(lasting, str(short_recording(tmp_path)), "--format", "rttm")
    assert done.returncode == 0, done.stderr
    turns = re.findall(r"^SPEAKER \S+ 1 \d+\.\d{3} \d+\.\d{3} <NA> <NA> \S+ <NA> <NA>$", done.stdout, re.MULTILINE)
    assert "\n".join([*turns, ""]) == done.stdout
    assert len(turns) == TURNS


def test_submit_of_a_job_that_fails_is_one_line(lasting: Stack, tmp_path: Path):
    done = submit(lasting, str(short_recording(tmp_path, "error.wav")))
    assert done.returncode == 1
    assert len([line for line in done.stderr.splitlines() if line.startswith("turnstream: ")]) == 1
    assert "Traceback" not in done.stderr


def test_submit_of_what_is_no_recording_is_one_line(lasting: Stack, tmp_path: Path):
    done = submit(lasting, str(recordings.text_named_wav(tmp_path)))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("turnstream: ")


def test_doctor_finds_a_running_stack(lasting: Stack):
    env = os.environ | {"TURNSTREAM_URL": lasting.url, "DATA_DIR": str(lasting.data_dir), "COLUMNS": "200"}
    command = [sys.executable, "-m", "turnstream", "doctor"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    assert f"ready at {lasting.url} (" in done.stdout
    assert f"ready at {lasting.url}\n" in re.sub(" +\n", "\n", done.stdout)

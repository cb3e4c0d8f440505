"""The stack as a user runs it, with the scripted engine: it comes up, works, stops, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from schemas.jobs import JobState
from tests.support import recordings
from tests.support.stack import Stack, gone, running_stack
from tests.support.waiting import until
from turnstream.client import Client

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]


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
    assert len(result.segments) == 1

    family = stack.processes()
    assert {psutil.Process(pid) for pid in stack.pids.values()} <= set(family)
    assert stack.stop() < 10
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
    with Client(lasting.url, tries=20) as client:
        job = client.submit(short_recording(tmp_path))
        assert [view.state for view in client.wait(job.id, timeout=60)][-1] is JobState.SUCCEEDED


def test_a_second_stack_on_the_same_directory_gets_one_line(lasting: Stack):
    command = [sys.executable, "-m", "turnstream", "up", "--data", str(lasting.data_dir), "--port", "0"]
    second = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert second.returncode == 2
    assert second.stderr.count("\n") == 1
    assert lasting.url in second.stderr
    assert httpx.get(f"{lasting.url}/readyz").status_code == 200

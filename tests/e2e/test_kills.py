"""kill -9 in the middle of a job, each process in turn: the stack mends itself and the job ends with its one result."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support import recordings
from tests.support.stack import Stack, running_stack
from tests.support.waiting import until

pytestmark = [pytest.mark.model, pytest.mark.stack, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A minute: long enough to be met in the middle."""
    return recordings.sample_repeated(2, tmp_path_factory.mktemp("audio")).read_bytes()


def ask(stack: Stack, path: str) -> httpx.Response | None:
    """None while the API is away."""
    try:
        return httpx.get(f"{stack.url}{path}", timeout=10)
    except httpx.TransportError:
        return None


def state(stack: Stack, address: str) -> str:
    answer = ask(stack, address)
    return answer.json()["state"] if answer is not None and answer.status_code == 200 else "unknown"


def submit(stack: Stack, recording: bytes) -> str:
    answer = httpx.post(f"{stack.url}/api/v1/jobs", files={"audio": ("talk.wav", recording)}, timeout=60)
    return answer.raise_for_status().headers["location"]


@pytest.fixture(scope="module")
def expected(stack: Stack, recording: bytes) -> list[dict]:
    address = submit(stack, recording)
    until(lambda: state(stack, address) == "succeeded", 180)
    return httpx.get(f"{stack.url}{address}/result").json()["segments"]


@pytest.mark.parametrize("victim", ["engine", "worker", "api", "broker"])
def test_a_job_outlives_the_kill_of(victim: str, stack: Stack, recording: bytes, expected: list[dict]):
    address = submit(stack, recording)
    until(lambda: state(stack, address) == "running", 60)
    pid = stack.pids[victim]
    os.kill(pid, signal.SIGKILL)

    until(lambda: state(stack, address) == "succeeded", 180)
    assert httpx.get(f"{stack.url}{address}/result").json()["segments"] == expected
    until(lambda: victim in stack.pids and stack.pids[victim] != pid, 60)
    until(lambda: (ready := ask(stack, "/readyz")) is not None and ready.status_code == 200, 60)

    job_id = address.rsplit("/", 1)[1]
    assert stack.event_ids()[f"{job_id}/live"] >= 1
    endings = [
        path.name for path in (stack.data_dir / "objects").rglob("*.json") if path.parent.parent.parent.name == job_id
    ]
    assert sorted(endings) == ["attempts.json", "ended.json", "result.json"]
    until(lambda: not any((stack.data_dir / "objects" / "pending").rglob("*live*")), 60)


def test_a_broker_that_hangs_is_answered_with_503_and_taken_up_again(stack: Stack, recording: bytes):
    broker = stack.pids["broker"]
    objects = stack.data_dir / "objects"

    def stored() -> set[Path]:
        return {path for path in (*objects.rglob("jobs/*/job.json"), *objects.rglob("pending/*/*"))}

    before = stored()
    os.kill(broker, signal.SIGSTOP)
    try:
        answer = httpx.post(f"{stack.url}/api/v1/jobs", files={"audio": ("talk.wav", recording)}, timeout=60)
    finally:
        os.kill(broker, signal.SIGCONT)
    assert (answer.status_code, answer.json()["code"]) == (503, "broker_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert stored() == before

    address = until(lambda: accepted(stack, recording), 60)
    until(lambda: state(stack, address) == "succeeded", 180)


def accepted(stack: Stack, recording: bytes) -> str | None:
    answer = httpx.post(f"{stack.url}/api/v1/jobs", files={"audio": ("talk.wav", recording)}, timeout=60)
    return answer.headers["location"] if answer.status_code == 202 else None

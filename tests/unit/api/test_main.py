"""`python -m producer_api` as a process."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.waiting import until


def environment(tmp_path: Path, **settings: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "VIRTUAL_ENV") if name in os.environ}
    return kept | {"DATA_DIR": str(tmp_path / "data")} | settings


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture
def process(tmp_path):
    """The API without a broker: nothing listens where it is said to be."""
    port = free_port()
    env = environment(tmp_path, PORT=str(port), KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}")
    with subprocess.Popen([sys.executable, "-m", "producer_api"], cwd=tmp_path, env=env) as child:
        try:
            yield child, f"http://127.0.0.1:{port}"
        finally:
            child.kill()


def answers(url: str) -> httpx.Response | None:
    try:
        return httpx.get(url)
    except httpx.TransportError:
        return None


def test_it_starts_without_a_broker_and_stops_in_order(process):
    child, url = process
    until(lambda: answers(f"{url}/healthz"), 30)
    ready = httpx.get(f"{url}/readyz")
    assert (ready.status_code, ready.json()["code"]) == (503, "broker_unavailable")
    helpers = psutil.Process(child.pid).children(recursive=True)
    child.send_signal(signal.SIGTERM)
    assert child.wait(8) == 0
    _, alive = psutil.wait_procs(helpers, 3)
    assert not alive


def test_its_helpers_die_with_it(process):
    child, url = process
    until(lambda: answers(f"{url}/healthz"), 30)
    helpers = psutil.Process(child.pid).children(recursive=True)
    assert helpers
    child.kill()
    child.wait()
    _, alive = psutil.wait_procs(helpers, 5)
    assert not alive


def test_it_refuses_to_serve_the_world_without_a_key(tmp_path):
    env = environment(tmp_path, HOST="0.0.0.0", PORT="0")
    done = subprocess.run(
        [sys.executable, "-m", "producer_api"],
        check=False,
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == os.EX_CONFIG
    assert len(done.stderr.splitlines()) == 1
    assert "API_KEY" in done.stderr


@pytest.mark.parametrize("module", ["producer_api", "processor"])
@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"PORT": "no"}, "PORT: "),
        ({"BROKER": "kafka"}, "KAFKA_BOOTSTRAP_SERVERS"),
        ({"RETRY_DELAYS": "1"}, "RETRY_DELAYS"),
    ],
)
def test_a_wrong_setting_is_one_line(tmp_path: Path, module: str, wrong: dict[str, str], says: str):
    done = subprocess.run(
        [sys.executable, "-m", module],
        check=False,
        cwd=tmp_path,
        env=environment(tmp_path, **wrong),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == os.EX_CONFIG
    assert len(done.stderr.splitlines()) == 1
    assert says in done.stderr

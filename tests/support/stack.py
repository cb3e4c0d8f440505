"""A stack for end-to-end tests: `turnstream up` as a user starts it, in a directory and on ports of its own."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from schemas.topics import Topic
from tests.support.topics import records
from tests.support.waiting import until
from turnstream import run_dir
from turnstream.background import Background
from turnstream.client import Client

CLEAN = {
    "API_KEY": "",
    "HF_TOKEN": "",
    "KAFKA_BOOTSTRAP_SERVERS": "",
    "BROKER": "embedded",
    "OBJECT_STORE": "filesystem",
    "HOST": "127.0.0.1",
    "ENGINE": "pyannote",
    "SWEEP_INTERVAL": "2",
    "WORKERS": "1",
    "METRICS_PORT": "0",
}
"""What a developer's own environment must not bring into a test."""
READY_LIMIT = 120.0
COMPOSE = "TURNSTREAM_TEST_COMPOSE"
"""The variable that makes each stack that of docker-compose.yml, as `python -m tests.support.compose` sets it."""


class Stack:
    """A running stack. `pids` are those of this moment: broker, api, worker, engine; of several worker-1, engine-1, and so on."""

    def __init__(self, background: Background) -> None:
        self._background = background
        self.data_dir = background.data_dir

    @property
    def pid(self) -> int:
        """Of `turnstream up` itself."""
        return self._background.pid

    @property
    def url(self) -> str:
        return self._background.url

    @property
    def bootstrap(self) -> str:
        return self._background.state["bootstrap"]

    @property
    def pids(self) -> dict[str, int]:
        pids = self._background.state.get("pids", {})
        workers = [name for name in pids if name.startswith("worker")]
        engines = {name.replace("worker", "engine"): self.worker(name).get("engine_pid") for name in workers}
        return pids | {name: pid for name, pid in engines.items() if pid}

    def worker(self, name: str = "worker") -> dict[str, Any]:
        """What a worker says of itself."""
        return run_dir.read_state(self.data_dir, name)

    @property
    def logs(self) -> str:
        return self._background.log.read_text(errors="replace")

    def client(self, **options: Any) -> Client:
        return Client(self.url, **options)

    def event_ids(self, topic: Topic = Topic.DIARIZATION_RESULTS) -> Counter[str]:
        """The ids of the events that the broker has in a topic now, and how often it has each."""
        found = records(self.bootstrap, [topic])
        return Counter(dict(message.headers() or [])["ce_id"].decode() for message in found)

    def processes(self) -> list[psutil.Process]:
        """Every process of the stack, grandchildren included."""
        up = psutil.Process(self.pid)
        return [up, *up.children(recursive=True)]

    def stop(self) -> float:
        """Stop in order; returns the seconds it took."""
        return self._background.stop()


@contextmanager
def running_stack(folder: Path, **env: str) -> Iterator[Stack]:
    """Ready when entered; when left, nothing of it runs any more, whatever the test did to it.

    Under `python -m tests.support.compose` it is the production stack, and `env` is what its .env has beside secrets.
    """
    if COMPOSE in os.environ:
        from tests.support.compose_stack import composed_stack

        with composed_stack(folder, **env) as composed:
            yield composed
        return
    with Background(folder / "data", folder / "stack.log", CLEAN | env) as background:
        stack = Stack(background)
        try:
            background.wait_ready(READY_LIMIT)
            yield stack
        except BaseException:
            print(stack.logs[-20_000:])
            raise
        finally:
            family = stack.processes() if psutil.pid_exists(stack.pid) else []
            stack.stop()
            gone(family)


def gone(family: list[psutil.Process], within: float = 15.0) -> None:
    """Wait until none of these is left. Raises TimeoutError; then they are killed, so that one test does not spoil others."""
    try:
        until(lambda: not alive(family), within)
    except TimeoutError:
        for process in alive(family):
            process.kill()
        raise


def alive(family: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]

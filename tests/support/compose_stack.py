"""The production stack under the interface that tests know of `turnstream up`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.support.compose import Composed
from tests.support.stack import Stack
from turnstream import run_dir
from turnstream.client import Client

ELSEWHERE = {"BROKER", "OBJECT_STORE", "HOST", "PORT", "KAFKA_BOOTSTRAP_SERVERS", "WORKERS", "METRICS_PORT"}
"""What the file says itself."""
PATIENT = {"WAIT_LIMIT": "280"}
"""Four servers share the cores of a test's machine with the engine: what it finds is asked here, not how soon."""


class ComposeStack(Stack):
    def __init__(self, composed: Composed) -> None:
        self.composed = composed
        self.data_dir = composed.folder

    @property
    def pid(self) -> int:
        raise NotImplementedError("nobody supervises it but the engine")

    @property
    def url(self) -> str:
        return self.composed.env.get("PUBLIC_URL", "http://127.0.0.1:8000")

    @property
    def bootstrap(self) -> str:
        """Of the listener for this host."""
        return "127.0.0.1:29092"

    @property
    def key(self) -> str:
        return self.composed.env["API_KEY"].split(",")[0]

    @property
    def pids(self) -> dict[str, int]:
        pids = {name: running.pid for name, running in self.composed.running.items()}
        others = {"broker": pids["kafka"], "engine": self.worker().get("engine_pid")}
        return {name: pid for name, pid in (pids | others).items() if pid}

    def worker(self, name: str = "worker") -> dict[str, Any]:
        return run_dir.read_state(self.composed.running[name].data, "worker")

    @property
    def logs(self) -> str:
        return self.composed.logs

    def client(self, **options: Any) -> Client:
        return Client(self.url, self.key, **options)

    def processes(self) -> list[psutil.Process]:
        return [psutil.Process(pid) for pid in self.pids.values()]

    def stop(self) -> float:
        raise NotImplementedError("it ends with the test")


_running: list[Composed] = []


@contextmanager
def composed_stack(folder: Path, **env: str) -> Iterator[ComposeStack]:
    """The key is in the environment as well, for commands that the test starts. One that still runs is stopped for good: there
    are no ports for two.
    """
    folder.chmod(0o755)  # services are other users
    given = PATIENT | {name: value for name, value in env.items() if name not in ELSEWHERE and value}
    while _running:
        _running.pop().stop()
    with Composed(folder, **given) as composed:
        stack = ComposeStack(composed)
        _running.append(composed)
        os.environ["API_KEY"] = stack.key
        try:
            yield stack
        except BaseException:
            print(stack.logs[-20_000:])
            raise
        finally:
            os.environ.pop("API_KEY", None)

"""`turnstream up` behind another program: its lines go to a file, and it ends with whoever started it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from schemas.errors import StackFailed
from turnstream import run_dir
from turnstream.lifeline import Lifeline

STOP_LIMIT = 20.0
"""Seconds `turnstream up` has to stop: more than it takes at most with DRAIN_LIMIT as it comes, which `up` itself sees to."""
HOPELESS = 4
"""Deaths of one process after which a stack that was never ready is not waited for any longer."""
POLL = 0.05


class Background:
    """A stack of its own on free ports. A context manager; entering does not wait until it is ready."""

    def __init__(self, data_dir: Path, log: Path, env: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir
        self.log = log
        self._env = env or {}
        self._lifeline = Lifeline()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        turnstream = [sys.executable, "-P", "-m", "turnstream"]
        command = [*turnstream, "up", "--data", str(self.data_dir), "--port", "0", "--broker-port", "0"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env=os.environ | self._env | self._lifeline.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=self._lifeline.fds,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    @property
    def state(self) -> dict[str, Any]:
        """What stack.json says; empty while there is none."""
        return run_dir.read_state(self.data_dir, "stack")

    @property
    def url(self) -> str:
        return self.state["url"]

    @property
    def failed(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def wait_ready(self, within: float) -> None:
        """Raises StackFailed, which says where the log is."""
        deadline = time.monotonic() + within
        while (state := self.state).get("state") != "ready":
            if self.failed:
                raise StackFailed(f"the stack did not come up: {self._last_line()} (all of it: {self.log})")
            for name, deaths in state.get("deaths", {}).items():
                if deaths >= HOPELESS:
                    raise StackFailed(f"the {name} died {deaths} times; the log says why: {self.log}")
            if time.monotonic() > deadline:
                raise StackFailed(f"the stack was not ready within {within:.0f} s; its log: {self.log}")
            time.sleep(POLL)

    def stop(self, within: float = STOP_LIMIT) -> float:
        """Stop in order, or by force after so many seconds; returns the seconds it took."""
        began = time.monotonic()
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(within)
            self._process.kill()
            self._process.wait()
        self._lifeline.close()
        return time.monotonic() - began

    def _last_line(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

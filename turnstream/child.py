"""One process of the local stack, and its lines on the terminal."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, TextIO

from turnstream.lifeline import Lifeline

Say = Callable[[str, str], None]
"""Takes who speaks and what: one line of a child or of the supervisor itself."""

COLOURS = {"broker": 35, "api": 36, "worker": 33, "stack": 32}
"""ANSI colours of the names; worker-1 and its like have that of the worker."""
NAME_WIDTH = 8
LONGEST_LINE = 1 << 16


class Terminal:
    """Lines of several processes under each other, each behind the name of its process."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._colourful = out.isatty() and "NO_COLOR" not in os.environ
        self._lock = threading.Lock()

    def __call__(self, name: str, line: str) -> None:
        prefix = f"{name:<{NAME_WIDTH}} | "
        if self._colourful:
            prefix = f"\x1b[{COLOURS.get(name.partition('-')[0], 37)}m{prefix}\x1b[0m"
        with self._lock, suppress(OSError, ValueError):  # the terminal may be gone while children still stop
            self._out.write(f"{prefix}{line}\n")
            self._out.flush()


class Child:
    """A process in a group of its own, so that what it started goes with it."""

    def __init__(
        self, name: str, command: Sequence[str], env: Mapping[str, str], lifeline: Lifeline, say: Say, *, guarded: bool
    ) -> None:
        """`guarded`: the program cannot watch the lifeline itself."""
        self.name = name
        guard = [sys.executable, "-P", "-m", "turnstream.lifeline"] if guarded else []
        self._command = [*guard, *command]
        self.env = {**env, **lifeline.env}
        """What it sees when it is started the next time."""
        self._lifeline = lifeline
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self.stopping = False
        """Whether its end is our will."""
        self.deaths = 0
        """How often it ended otherwise."""

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def run(self, started: Callable[[], None]) -> int:
        """Start it, and return how it ended, as subprocess says it; nothing of its group is left then.

        To cancel this does not stop the child.
        """
        process = self._start()
        started()
        code = await asyncio.to_thread(process.wait)
        self._kill_group()
        return code

    def _start(self) -> subprocess.Popen[bytes]:
        self.stopping = False
        process = subprocess.Popen(
            self._command,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=self._lifeline.fds,
        )
        threading.Thread(target=self._pass_on, args=(process.stdout,), name=f"{self.name}-log", daemon=True).start()
        self._process = process
        return process

    async def stop(self, within: float) -> None:
        """SIGTERM, and SIGKILL for what is left after so many seconds."""
        self.terminate()
        if self._process is not None:
            try:
                await asyncio.to_thread(self._process.wait, within)
            except subprocess.TimeoutExpired:
                self._say("stack", f"{self.name} did not stop within {within:.0f} s and is killed")
        await self.kill()

    async def kill(self) -> None:
        """SIGKILL, at once: for what has nothing to put away."""
        self.stopping = True
        if self._process is not None:
            self._kill_group()
            await asyncio.to_thread(self._process.wait)

    def terminate(self) -> None:
        """Ask it to stop."""
        self.stopping = True
        if self._process is not None:
            self._process.terminate()

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
            if self._process is not None:
                os.killpg(self._process.pid, signal.SIGKILL)

    def _pass_on(self, output: IO[bytes]) -> None:
        with output:
            while line := output.readline(LONGEST_LINE):
                self._say(self.name, line.decode(errors="replace").rstrip())


def described(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"killed by signal {-code}"

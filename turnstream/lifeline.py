"""Children that do not outlive the process that started them, on Linux and macOS alike.

The starter keeps the writing end of a pipe open and never writes. When it dies, however it dies, the kernel closes that end,
and whoever reads the other end knows. A Python child calls `watch`; any other program is started through
`python -m turnstream.lifeline PROGRAM ...`, which becomes that program and leaves a small guard beside it.
"""

import os
import signal
import sys
import threading
import time

ENV = "TURNSTREAM_LIFELINE"
GRACE = 6.0
"""Seconds a child has to stop in order once its starter is gone."""


class Lifeline:
    """The starter's side: one pipe for all its children."""

    def __init__(self) -> None:
        self._read, write = os.pipe()
        self._ends = [self._read, write]

    @property
    def fds(self) -> tuple[int, ...]:
        """What a child must inherit: `pass_fds` of subprocess."""
        return (self._read,)

    @property
    def env(self) -> dict[str, str]:
        return {ENV: str(self._read)}

    def close(self) -> None:
        """Let go: children that are still there stop now. Once is enough, and twice is no error."""
        while self._ends:
            os.close(self._ends.pop())


def watch(grace: float = GRACE) -> None:
    """End this process with the one that started it: SIGTERM at once, SIGKILL for its whole group after `grace` seconds.

    Does nothing in a process that was started by hand.
    """
    fd = _take()
    if fd is not None:
        threading.Thread(target=_follow, args=(fd, grace), name="lifeline", daemon=True).start()


def _take() -> int | None:
    value = os.environ.pop(ENV, None)  # what this process starts in turn has another lifeline
    if value is None:
        return None
    os.set_inheritable(int(value), False)
    return int(value)


def _wait(fd: int) -> None:
    while os.read(fd, 1):  # nobody writes: this returns at the end of the file
        pass


def _follow(fd: int, grace: float) -> None:
    _wait(fd)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace)
    _kill_group()


def _kill_group() -> None:
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _guard(fd: int) -> None:
    """Beside the program, in its process group: kills both when the starter is gone."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)  # else the starter would wait for the end of our output
    _wait(fd)
    os.killpg(0, signal.SIGKILL)


def main(command: list[str]) -> None:
    """Become `command`. It must be the leader of a process group of its own (`start_new_session`)."""
    fd = _take()
    if fd is not None and os.fork() == 0:
        _guard(fd)
    os.execvp(command[0], command)  # noqa: S606 - an argument list of our own


if __name__ == "__main__":
    main(sys.argv[1:])

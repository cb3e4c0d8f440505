"""The engine process: owns the engines and the device, does what its parent says, dies when its parent does."""

import ctypes
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from processor.engines import hub
from processor.engines.base import JobTask, ModelsChanged, Outcome, Worked
from processor.engines.hub import Hub
from schemas.jobs import JobKey
from turnstream import logs, points, weights
from turnstream.settings import Settings

log = logging.getLogger(__name__)

BEAT = 1.0
"""Seconds after which the child speaks up, whether it has anything to say or not."""
REST = 1.0
"""Seconds an idle child waits for a command before it looks after its models."""
_PR_SET_PDEATHSIG = 1  # sys/prctl.h


# From the parent


@dataclass(frozen=True, slots=True)
class Open:
    task: JobTask


@dataclass(frozen=True, slots=True)
class Cancel:
    id: JobKey


@dataclass(frozen=True, slots=True)
class Focus:
    """The model whose jobs matter now; None: the engine process decides."""

    model: str | None


@dataclass(frozen=True, slots=True)
class Prefetch:
    """This model will be in focus soon."""

    model: str


@dataclass(frozen=True, slots=True)
class Close:
    pass


Command = Open | Cancel | Focus | Prefetch | Close


# To the parent


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life, with what came out since the last one."""

    outcomes: tuple[Outcome, ...] = ()
    loading: bool = False
    """Something is loaded, which has a limit of its own. It goes on aside: signs of life come all the same."""
    silent: bool = False
    """There may be none for as long as a load takes."""
    models: ModelsChanged | None = None
    """None: as they were said to be last."""
    worked: Worked | None = None


def main(connection: Connection, settings: Settings, parent: int) -> None:
    """The whole life of the engine process."""
    _die_with(parent)
    logs.configure(settings.log_level)
    logging.captureWarnings(True)  # libraries' warnings become log lines
    commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, commands), name="commands", daemon=True).start()
    # OpenMP reads this as it is loaded, with torch or CTranslate2. Waiting threads that spin would take the processor from
    # the broker, the API and the worker, which on a small machine have the same cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    status = 0
    try:
        if settings.engine != "scripted":
            weights.quiet(settings)
            threading.Thread(target=hub.import_ahead, name="import", daemon=True).start()
        engines = Hub(settings)
        connection.send(Beat())
        _work(engines, commands, _Voice(engines, connection))
    except Exception:
        log.exception("the engine process fails")
        status = 1
    logging.shutdown()
    os._exit(status)  # at once: a thread that decodes or downloads would keep the process


def _work(engines: Hub, commands: "queue.SimpleQueue[Command]", voice: "_Voice") -> None:
    while True:
        while (command := _next(commands, None if engines.open_jobs else REST)) is not None:
            if isinstance(command, Close):
                engines.close()
                return
            _do(command, engines, voice)
        voice.say()  # before a step that may take as long as a load
        if engines.open_jobs:
            voice.say(engines.step())
        else:
            engines.tend()


def _do(command: Open | Cancel | Focus | Prefetch, engines: Hub, voice: "_Voice") -> None:
    match command:
        case Open(task):
            _announce(task.model, engines, voice)
            engines.open(task)
            points.passing("engine.opened")
        case Cancel(id):
            engines.cancel(id)
        case Focus(model):
            engines.focus(model)
        case Prefetch(model):
            _announce(model, engines, voice)
            engines.prefetch(model)


def _announce(model: str, engines: Hub, voice: "_Voice") -> None:
    """An engine's libraries may have to be imported, which takes as long as a load may."""
    if not engines.knows(model):
        voice.say(silent=True)


def _next(commands: "queue.SimpleQueue[Command]", wait: float | None) -> Command | None:
    """The next command, if one comes within `wait` seconds; None: if one is there."""
    try:
        return commands.get(block=wait is not None, timeout=wait)
    except queue.Empty:
        return None


class _Voice:
    """Tells the parent what is new to it, and at least every BEAT seconds, as long as jobs are open, that all is well."""

    def __init__(self, engines: Hub, connection: Connection) -> None:
        self._engines, self._connection = engines, connection
        self._spoke = time.monotonic()
        self._told = False, False

    def say(self, outcomes: Sequence[Outcome] = (), *, silent: bool = False) -> None:
        now, models = time.monotonic(), self._engines.changes()
        loading, silent = self._engines.loading, silent or self._engines.silent
        due = self._engines.open_jobs and now - self._spoke >= BEAT
        if outcomes or models is not None or (loading, silent) != self._told or due:
            self._spoke, self._told = now, (loading, silent)
            self._connection.send(Beat(tuple(outcomes), loading, silent, models, self._engines.worked()))


def _receive(connection: Connection, commands: "queue.SimpleQueue[Command]") -> None:
    """Hand over commands until the pipe ends, and the process with it, whatever the engine is doing."""
    try:
        while True:
            commands.put(connection.recv())
    except (EOFError, OSError):
        os._exit(1)


def _die_with(parent: int) -> None:
    """Ctrl-C goes to the whole group and is the parent's to answer; its end is ours, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before that was said
        os._exit(1)

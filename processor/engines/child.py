"""The engine process: owns the engine and the device, does what its parent says, dies when its parent does."""

import ctypes
import logging
import os
import queue
import signal
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection

from processor.engines.base import Engine, JobTask, Outcome
from turnstream import logs
from turnstream.settings import Settings

log = logging.getLogger(__name__)

BEAT = 1.0
"""Seconds after which the child speaks up, whether it has anything to say or not."""
_PR_SET_PDEATHSIG = 1  # sys/prctl.h


# From the parent


@dataclass(frozen=True, slots=True)
class Open:
    task: JobTask


@dataclass(frozen=True, slots=True)
class Cancel:
    id: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Close:
    pass


Command = Open | Cancel | Close


# To the parent


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life, with what came out since the last one."""

    outcomes: tuple[Outcome, ...] = ()
    loading: bool = False


def main(connection: Connection, settings: Settings, parent: int) -> None:
    """The whole life of the engine process."""
    _die_with(parent)
    logs.configure(settings.log_level)
    logging.captureWarnings(True)  # libraries' warnings become log lines
    commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, commands), name="commands", daemon=True).start()
    status = 0
    try:
        engine = _engine(settings)
        connection.send(Beat())
        _work(engine, commands, connection)
    except Exception:
        log.exception("the engine process fails")
        status = 1
    logging.shutdown()
    os._exit(status)  # at once: a thread that decodes or downloads would keep the process


def _work(engine: Engine, commands: "queue.SimpleQueue[Command]", connection: Connection) -> None:
    spoke, loading = time.monotonic(), False
    while True:
        while not engine.open_jobs or not commands.empty():
            match commands.get():
                case Open(task):
                    engine.open(task)
                case Cancel(id):
                    engine.cancel(id)
                case Close():
                    engine.close()
                    return
            if engine.loading and not loading:  # said before a step that may take as long as the load
                loading = True
                connection.send(Beat(loading=True))
        outcomes = engine.step()
        if outcomes or engine.loading != loading or time.monotonic() - spoke >= BEAT:
            spoke, loading = time.monotonic(), engine.loading
            connection.send(Beat(tuple(outcomes), loading))


def _receive(connection: Connection, commands: "queue.SimpleQueue[Command]") -> None:
    """Hand over commands until the pipe ends, and the process with it, whatever the engine is doing."""
    try:
        while True:
            commands.put(connection.recv())
    except (EOFError, OSError):
        os._exit(1)


def _engine(settings: Settings) -> Engine:
    if settings.engine == "scripted":
        from processor.engines.scripted import ScriptedEngine

        return ScriptedEngine()
    from processor.engines.diarize.start import diarize_engine

    return diarize_engine(settings)


def _die_with(parent: int) -> None:
    """Ctrl-C goes to the whole group and is the parent's to answer; its end is ours, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before that was said
        os._exit(1)

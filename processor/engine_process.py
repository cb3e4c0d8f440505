"""The engines in a process of their own, seen from the worker: what they do to it, they do not do to the worker."""

import asyncio
import logging
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from processor.engines import child
from processor.engines.base import EngineLost, JobTask, ModelsChanged, Outcome, Progressed, Worked
from schemas.errors import EngineCrashed, EngineHung, TurnstreamError
from schemas.jobs import JobKey
from turnstream.settings import Settings

log = logging.getLogger(__name__)

Event = Outcome | EngineLost | ModelsChanged

WATCH = 0.1
"""Seconds between two looks at whether the child still speaks."""
LATE = 1.0
"""Seconds by which a look is late where this process stood still itself, and has not heard yet what the child said meanwhile."""
CLOSE_LIMIT = 2.0
"""Seconds the child has to end when it is told to."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0
"""Seconds before a child is replaced that died before it was ready; doubled each time."""


class EngineProcess:
    """Holds open jobs in a child process and replaces that when it dies or hangs.

    All methods belong to one event loop, which runs in the main thread: where that ends, the child does, too.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.on_work: Callable[[Worked], None] = lambda _: None
        self._open: dict[JobKey, JobTask] = {}
        self._out: asyncio.Queue[Event] = asyncio.Queue()
        self._focus: str | None = None
        self._child: _Child | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Of the child; None while it is being replaced."""
        return self._child.pid if self._child else None

    async def start(self) -> None:
        """Returns at once: jobs opened before the child is ready wait for it."""
        self._spawn()
        self._keeper = asyncio.create_task(self._keep())

    async def open(self, task: JobTask) -> None:
        """Have a job computed; its outcomes come from `outcomes`. While the child is being replaced, the job waits."""
        if not self._open and self._child:
            self._child.roused()
        self._open[task.id] = task
        self._send(child.Open(task))

    async def cancel(self, id: JobKey) -> None:
        """Drop an open job: no outcome of it comes any more. An unknown id is no error."""
        if self._open.pop(id, None) is not None:
            self._send(child.Cancel(id))

    async def focus(self, model: str | None) -> None:
        """Have the jobs of this model go on, whatever has to be unloaded and parked for it. None: the child decides."""
        self._focus = model
        self._send(child.Focus(model))

    async def prefetch(self, model: str) -> None:
        """Have the files of a model read ahead that will be in focus soon."""
        self._send(child.Prefetch(model))

    async def outcomes(self) -> AsyncIterator[Event]:
        """What becomes of the open jobs and of the models, for ever."""
        while True:
            yield await self._out.get()

    async def close(self) -> None:
        """Drop all jobs and end the child, by force if need be."""
        self._open.clear()
        if self._keeper:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        if self._child:
            self._send(child.Close())
            with suppress(TimeoutError):
                await asyncio.wait_for(self._child.ended.wait(), CLOSE_LIMIT)
            self._child.kill()
            await self._child.ended.wait()
            self._child = None

    # The child

    async def _keep(self) -> None:
        """Watch the child, and replace it when it is no more."""
        pause = 0.0
        while self._child:
            error = await self._watch(self._child)
            lost = tuple(self._open)
            self._open.clear()
            log.error("%s (process %d, %d open jobs)", error, self._child.pid, len(lost))
            pause = 0.0 if self._child.ready else min(max(FIRST_PAUSE, 2 * pause), LONGEST_PAUSE)
            self._child = None
            self._out.put_nowait(ModelsChanged())
            await asyncio.sleep(pause)
            self._spawn()
            if lost:
                self._out.put_nowait(EngineLost(lost, error.info))

    async def _watch(self, running: "_Child") -> TurnstreamError:
        """Returns why the child is no more; one that hangs is killed here."""
        looked = time.monotonic()
        while not running.ended.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(running.ended.wait(), WATCH)
            late, looked = time.monotonic() - looked - WATCH, time.monotonic()
            if late > LATE:
                running.forgive(late)
            hung = self._hung(running)
            if hung and not running.ended.is_set():
                running.kill()
                await running.ended.wait()
                return EngineHung(hung)
        return EngineCrashed(f"The engine process {_cause(running.exitcode)} while it worked on this job")

    def _hung(self, running: "_Child") -> str | None:
        if running.ready and not self._open:
            return None
        now = time.monotonic()
        load_limit, step_limit = self._settings.engine_load_limit, self._settings.engine_step_limit
        if running.loading_since is not None and now - running.loading_since > load_limit:
            return f"The engine was not done with loading its model after {load_limit:g} seconds"
        if not running.silent and now - running.spoke > step_limit:
            return f"The engine gave no sign of life for {step_limit:g} seconds"
        return None

    def _spawn(self) -> None:
        self._child = _Child(self._settings, self._heard)
        if self._focus is not None:
            self._send(child.Focus(self._focus))
        for task in self._open.values():
            self._send(child.Open(task))

    def _send(self, command: child.Command) -> None:
        if self._child:  # one that is dead already is replaced by its keeper
            self._child.send(command)

    def _heard(self, beat: child.Beat) -> None:
        if beat.models is not None:
            self._out.put_nowait(beat.models)
        if beat.worked is not None:
            self.on_work(beat.worked)
        for outcome in beat.outcomes:
            if outcome.id in self._open:  # else it was cancelled meanwhile
                if not isinstance(outcome, Progressed):
                    del self._open[outcome.id]
                self._out.put_nowait(outcome)


class _Child:
    """One engine process, with the threads that listen and speak to it: a child that stands still, with all its threads, does
    not read, and whoever writes to it may have to wait."""

    def __init__(self, settings: Settings, heard: Callable[[child.Beat], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._heard = heard
        self.ended = asyncio.Event()
        self.exitcode: int | None = None
        self.ready = False
        self.spoke = time.monotonic()
        self.silent = True  # it begins by loading its libraries
        self.loading_since: float | None = self.spoke
        spawn = multiprocessing.get_context("spawn")
        self._connection, theirs = spawn.Pipe()
        self._commands: queue.SimpleQueue[child.Command | None] = queue.SimpleQueue()
        self._process = spawn.Process(
            target=child.main, args=(theirs, settings, os.getpid()), name="engine", daemon=True
        )
        # A Ctrl-C that comes while the child starts must not end it with a traceback: it stays blocked until ignored.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self.pid = self._process.pid
        self._speaker = threading.Thread(target=self._speak, name="engine-commands", daemon=True)
        self._speaker.start()
        threading.Thread(target=self._listen, name="engine-outcomes", daemon=True).start()

    def send(self, command: child.Command) -> None:
        """Returns at once."""
        self._commands.put(command)

    def roused(self) -> None:
        """It was idle, and silent for that."""
        if self.ready:
            self.forgive(time.monotonic() - self.spoke)

    def forgive(self, seconds: float) -> None:
        """Its silence of so many seconds was none of its fault."""
        self.spoke += seconds
        if self.loading_since is not None:
            self.loading_since += seconds

    def kill(self) -> None:
        self._process.kill()

    def _speak(self) -> None:
        with suppress(OSError):
            while (command := self._commands.get()) is not None:
                self._connection.send(command)

    def _listen(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                beat = self._connection.recv()
                self._note(beat)
                self._loop.call_soon_threadsafe(self._heard, beat)
        self._process.join(CLOSE_LIMIT)
        if self._process.is_alive():  # it closed its pipe and stays: nothing to hope for
            self._process.kill()
            self._process.join()
        self.exitcode = self._process.exitcode
        self._commands.put(None)
        self._speaker.join()  # nobody is there to keep it waiting
        self._connection.close()
        with suppress(RuntimeError):  # the loop is closed: nobody wants to know
            self._loop.call_soon_threadsafe(self.ended.set)

    def _note(self, beat: child.Beat) -> None:
        self.ready, self.silent, self.spoke = True, beat.silent, time.monotonic()
        if not (beat.loading or beat.silent):
            self.loading_since = None
        elif self.loading_since is None:
            self.loading_since = self.spoke


def _cause(exitcode: int | None) -> str:
    """How a process ended, in words."""
    if exitcode is None or exitcode >= 0:
        return f"ended with status {exitcode}"
    with suppress(ValueError):
        name = signal.Signals(-exitcode).name
        hint = ", as the system does where memory is short," if name == "SIGKILL" else ""
        return f"was killed by {name}{hint}"
    return f"was killed by signal {-exitcode}"

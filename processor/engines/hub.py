"""All engines of the process under one roof: who goes on, with which model, and who is parked meanwhile."""

import logging
import threading
import time
from collections.abc import Callable

from processor.engines.base import (
    Engine,
    EngineContext,
    Failed,
    Finished,
    JobTask,
    ModelsChanged,
    Outcome,
    Worked,
)
from processor.engines.memory import DeviceMemory, Memory
from processor.engines.recordings import Recordings
from processor.model_manager import ModelManager
from schemas.errors import ModelLoadFailed, TurnstreamError, UnknownOperation
from schemas.jobs import JobKey
from turnstream import operations
from turnstream.settings import Settings

log = logging.getLogger(__name__)

MakeEngine = Callable[[str, EngineContext], Engine]

WAIT = 0.05
"""Seconds a step waits for what goes on aside when no engine has work."""


class Hub:
    """An engine for each model, made at the first job of it. Has the shape of one engine. Used from one thread.

    Of the engines with open jobs, those go on whose model is resident, fits beside those that are, or is in focus; a
    model in focus that does not fit takes the place of others, whose engines are parked until theirs comes again.
    """

    def __init__(self, settings: Settings, make: MakeEngine | None = None, memory: Memory | None = None) -> None:
        self._changed = threading.Event()
        self._memory = memory or DeviceMemory(settings)
        self._models = ModelManager(
            self._memory,
            idle_seconds=settings.model_idle_seconds,
            on_change=self._changed.set,
            on_evict=self._park,
        )
        self._context = EngineContext(settings, self._models, Recordings(settings), self._changed)
        self._make = make or engine_of
        self._engines: dict[str, Engine] = {}
        self._open: dict[JobKey, str] = {}
        """Open jobs and their models, the oldest first. Of those without an engine, the failure is still to be told."""
        self._failures: list[Failed] = []
        self._focus: str | None = None
        self._own_focus: str | None = None
        self._turns: list[str] = []
        """Models by their last turn, the latest last."""
        self._told = ModelsChanged()

    # As an engine

    def open(self, task: JobTask) -> None:
        """Take a job in. Its engine may have to be imported first, which takes seconds: see `knows`."""
        self.cancel(task.id)
        try:
            engine = self._engine(task.model)
        except TurnstreamError as error:
            self._failures.append(Failed(task.id, error.info))
        else:
            if not engine.open_jobs:
                self._models.forgive(task.model)
            engine.open(task)
        self._open[task.id] = task.model

    def step(self) -> list[Outcome]:
        """One forward pass at most, of one engine; or a wait for what goes on aside."""
        self._changed.clear()
        self.tend()
        outcomes: list[Outcome] = [*self._failures]
        self._failures.clear()
        for engine in self._engines.values():
            outcomes += engine.settle()
        if (name := self._next()) is not None:
            self._turns = [other for other in self._turns if other != name] + [name]
            started = time.monotonic()
            outcomes += self._engines[name].step()
            self._context.account.stepped(name, time.monotonic() - started)
        elif not outcomes:
            self._changed.wait(WAIT)
        for outcome in outcomes:
            if isinstance(outcome, Finished | Failed):
                self._open.pop(outcome.id, None)
        return outcomes

    def cancel(self, id: JobKey) -> None:
        name = self._open.pop(id, None)
        if name in self._engines:
            self._engines[name].cancel(id)
        self._failures = [failed for failed in self._failures if failed.id != id]

    def close(self) -> None:
        for engine in self._engines.values():
            engine.close()
        self._open.clear()
        self._models.close()

    @property
    def open_jobs(self) -> int:
        return len(self._open)

    @property
    def loading(self) -> bool:
        return self._models.loading

    @property
    def silent(self) -> bool:
        return any(engine.silent for engine in self._engines.values())

    # Models

    def focus(self, model: str | None) -> None:
        """The model whose jobs matter now. None: that of the oldest job, until it has no more of them."""
        self._focus = model

    def prefetch(self, model: str) -> None:
        """Have the model's files read ahead of its next load."""
        try:
            self._engine(model)
        except TurnstreamError as error:
            log.warning("%s is not read ahead: %s", model, error)
        else:
            self._models.prefetch(model)

    def knows(self, model: str) -> bool:
        """Whether its engine has been made."""
        return model in self._engines

    def tend(self) -> None:
        """Unload what has been idle for long. To be called now and then, also where no job is open."""
        self._models.unload_idle(set(self._open.values()))

    def changes(self) -> ModelsChanged | None:
        """What is to be told of models; None if nothing changed since this was last asked."""
        loads, unloads = self._models.events()
        now = ModelsChanged(self._there, self._models.fitting, tuple(loads), tuple(unloads))
        same = (set(now.resident), now.fitting) == (set(self._told.resident), self._told.fitting)
        self._told = now
        return None if same and not loads and not unloads else now

    def worked(self) -> Worked:
        """What was done since this was last asked."""
        return self._context.account.told(self._memory.of_device())

    # Turns

    def _next(self) -> str | None:
        """Whose turn it is. What has to be loaded first costs no pass; interactive jobs come before others; among
        equals the engines take turns, the one with the oldest job first."""
        resident, candidates = self._there, []
        for name in self._going():
            urgency = self._engines[name].urgency
            if name not in resident:
                if not self._models.loading:
                    return name
            elif urgency is not None:
                batch, opened = urgency
                turn = self._turns.index(name) if name in self._turns else -1
                candidates.append((batch, turn, opened, name))
        return min(candidates)[-1] if candidates else None

    def _going(self) -> list[str]:
        """Models whose engines have open jobs that are not parked, the one in focus first."""
        wanted = list(dict.fromkeys(name for name in self._open.values() if name in self._engines))
        if self._own_focus not in wanted:
            self._own_focus = next(iter(wanted), None)
        focus = self._focus or self._own_focus
        going = [name for name in wanted if name == focus or name in self._there or self._models.fits(name)]
        return sorted(going, key=lambda name: name != focus)

    # Engines

    @property
    def _there(self) -> tuple[str, ...]:
        """Models that engines can go on with: those that are resident, and of engines that have registered none."""
        return *(name for name in self._engines if not self._models.registered(name)), *self._models.resident

    def _engine(self, model: str) -> Engine:
        """Raises a TurnstreamError where it cannot be made."""
        if model not in self._engines:
            try:
                self._engines[model] = self._make(model, self._context)
            except TurnstreamError:
                raise
            except Exception as error:  # whatever an import can raise
                log.exception("the engine of %s cannot be started", model)
                raise ModelLoadFailed(f"The engine of {model} cannot be started: {error}") from error
        return self._engines[model]

    def _park(self, model: str) -> None:
        self._engines[model].park()


def engine_of(model: str, context: EngineContext) -> Engine:
    """The engine that the operation of this name brings, or its scripted twin. Imports what it needs."""
    operation = operations.installed().get(model)
    if operation is None or operation.engine is None:
        raise UnknownOperation(f"This worker has no engine for {model}")
    if context.settings.engine == "scripted":
        from processor.engines.scripted import ScriptedEngine

        return ScriptedEngine(operation, context)
    return operations.load(operation.engine)(context)


def import_ahead() -> None:
    """Engines' libraries take seconds to import, in a thread of its own: the first job should not have to wait for them."""
    for operation in operations.installed().values():
        if operation.engine is not None:
            try:
                operations.load(operation.engine)
            except Exception as error:  # for the first job to tell
                log.debug("the engine of %s cannot be imported: %r", operation.name, error)

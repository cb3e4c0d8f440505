"""Makes the scheduler's decisions come true: opens jobs, brings models into focus, has files read ahead, wakes up in time."""

import asyncio
import time
from collections.abc import Callable, Container, Coroutine
from typing import Any

from processor.engine_port import EnginePort
from processor.engines.base import ModelsChanged
from processor.scheduler import Scheduler, Ticket
from schemas.jobs import JobKey

SHORTEST_NAP = 0.01
"""Seconds until the scheduler is asked again at the earliest when it is a moment that it waits for."""


class Admission:
    """Belongs to one event loop. Nothing is opened while `open_for_jobs` is false; what is open stays open."""

    def __init__(
        self,
        scheduler: Scheduler,
        engine: EnginePort,
        *,
        backlog: Container[str],
        opened: Callable[[JobKey], None],
        swapped: Callable[[str], None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        """`opened` and `swapped` hear what was decided; `spawn` runs what is to be said to the engine."""
        self._scheduler = scheduler
        self._engine = engine
        self._backlog = backlog
        self._opened, self._swapped, self._spawn = opened, swapped, spawn
        self._timer: asyncio.TimerHandle | None = None
        self._read_ahead: str | None = None
        self.open_for_jobs = False

    def admit(self) -> None:
        """Open what may be opened now. To be called after each change of what waits, what is open or what is loaded."""
        self.pause()
        if not self.open_for_jobs:
            return
        now = time.time()
        while (decision := self._scheduler.next(now, self._backlog)) is not None:
            if isinstance(decision, Ticket):
                self._opened(decision.id)
            else:
                self._read_ahead = None
                self._swapped(decision.model)
                self._spawn(self._engine.focus(decision.model))
        coming = self._scheduler.next_model
        if coming is not None and coming != self._read_ahead:
            self._read_ahead = coming
            self._spawn(self._engine.prefetch(coming))
        wake = self._scheduler.wake_at(now)
        if wake is not None:
            nap = max(wake - now, SHORTEST_NAP)
            self._timer = asyncio.get_running_loop().call_later(nap, self.admit)

    def pause(self) -> None:
        """Do not wake up by itself."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def models_changed(self, changed: ModelsChanged) -> None:
        self._scheduler.models(frozenset(changed.resident), frozenset(changed.fitting))
        for load in changed.loads:
            self._scheduler.swap_takes(load.model, load.seconds)
        self.admit()

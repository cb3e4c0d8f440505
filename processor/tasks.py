"""The tasks a worker has under way: none of them may be lost sight of."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

logger = logging.getLogger(__name__)


class Tasks:
    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()
        self.failed = asyncio.Event()
        """Set when a task ended with an error: what it had in its hands stays there for ever."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)

    def spawn_endless(self, work: Coroutine[Any, Any, None]) -> None:
        """Work that must not end before `close`."""
        self.spawn(_endless(work))

    async def close(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.critical("a task of the worker failed", exc_info=error)
            self.failed.set()


async def _endless(work: Coroutine[Any, Any, None]) -> None:
    await work
    raise RuntimeError("a part of the worker that never ends has ended")

"""Work that is done to its end even if its caller leaves or the request is cancelled."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Pledges:
    def __init__(self) -> None:
        self._open: set[asyncio.Task[Any]] = set()

    async def keep(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.create_task(work)
        self._open.add(task)
        task.add_done_callback(self._closed)
        return await asyncio.shield(task)

    async def close(self, seconds: float) -> None:
        """Let what is open come to its end."""
        if self._open:
            await asyncio.wait(self._open, timeout=seconds)

    def _closed(self, task: asyncio.Task[Any]) -> None:
        self._open.discard(task)
        if not task.cancelled():
            task.exception()  # whoever left does not fetch it

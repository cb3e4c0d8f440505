"""How many job events lie before one that waits for its turn."""

import asyncio
import logging
import time
from collections.abc import Mapping

from schemas.errors import TurnstreamError
from schemas.topics import Topic
from turnstream.bus.base import Bus, Reach
from turnstream.records import Mark

log = logging.getLogger("turnstream.api")

FRESH = 1.0
"""Seconds for which one answer of the broker serves all callers."""
PATIENCE = 0.25
"""Seconds a caller waits for a newer answer."""
STALE = 10.0
"""Seconds after which an old answer is none any more."""


class Backlog:
    """Asks the broker only while somebody wants to know, and one question at a time."""

    def __init__(self, bus: Bus, group: str) -> None:
        self._bus = bus
        self._group = group
        self._reaches: Mapping[int, Reach] = {}
        self._asked = self._answered = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def ahead(self, mark: Mark | None, topic_id: str | None) -> int | None:
        """Of the event that `mark` speaks of; None where nothing can be said of it now."""
        if mark is None or mark.partition is None or mark.offset is None or mark.topic_id != topic_id:
            return None
        reach = (await self._latest()).get(mark.partition)
        if reach is None or mark.offset < (first := reach.low if reach.committed is None else reach.committed):
            return None
        return mark.offset - first

    async def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    async def _latest(self) -> Mapping[int, Reach]:
        now = time.monotonic()
        if now - self._asked >= FRESH and (self._asking is None or self._asking.done()):
            self._asked = now
            self._asking = asyncio.create_task(self._ask())
        if self._asking is not None:
            await asyncio.wait([self._asking], timeout=PATIENCE)
        return self._reaches if time.monotonic() - self._answered < STALE else {}

    async def _ask(self) -> None:
        try:
            self._reaches = await self._bus.reach(Topic.JOBS, self._group)
            self._answered = time.monotonic()
        except TurnstreamError as error:
            log.debug("how far the workers came is not known: %s", error.detail)

"""Keeps an eye on the broker: lays the topics out, knows their layout and incarnation, says what is missing."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from producer_api.threads import Threads
from schemas.errors import BrokerUnavailable, LayoutMismatch, StoreUnavailable, TurnstreamError
from schemas.topics import Layout, Topic
from turnstream.bus.base import Bus
from turnstream.operations import Operations, result_topics
from turnstream.records import Records

log = logging.getLogger("turnstream.api")
Answer = TypeVar("Answer")

CHECK_INTERVAL = 1.0
BACKOFF_LIMIT = 2.0
CHECK_TIMEOUT = 3.0
"""Seconds the broker has for a look at its topics: long before a publish is given up, /readyz says that it is away."""


class BrokerWatch:
    def __init__(
        self, bus: Bus, records: Records, threads: Threads, *, partition_groups: int, operations: Operations
    ) -> None:
        self.topic_id: str | None = None
        """The incarnation of `gpu-jobs`, at most CHECK_INTERVAL old while all is well."""
        self.problem: TurnstreamError | None = BrokerUnavailable("The broker has not answered yet")
        """Why nothing can be published just now; None while all is well."""
        self.on_new_topics: list[Callable[[], None]] = []
        """Called when the topics were found for the first time, and each time they were made anew."""
        self._bus = bus
        self._records = records
        self._threads = threads
        self._groups = partition_groups
        self._operations = operations
        self._layout: Layout | None = None
        self._laid_out = False

    async def run(self) -> None:
        delay = CHECK_INTERVAL
        while True:
            try:
                await self.check()
                delay = CHECK_INTERVAL
            except TurnstreamError as error:
                if self.problem is None or self.problem.code != error.code:
                    log.warning("nothing can be published: %s", error.detail)
                self.problem = error
                delay = min(delay * 1.5, BACKOFF_LIMIT)
            await asyncio.sleep(delay)

    async def check(self) -> None:
        """Raises BrokerUnavailable, StoreUnavailable, LayoutMismatch."""
        topic_id = await self._asked(self._bus.topic_id(Topic.JOBS)) if self._laid_out else None
        if topic_id is None:
            layout = await self.agree()
            topic_id = await self._asked(self._lay_out(layout))
        if self.problem is not None:
            log.info("the broker answers and the topics are in place")
        self.problem = None
        if topic_id != self.topic_id:
            self.topic_id = topic_id
            self.announce()

    async def agree(self) -> Layout:
        """The layout in force, which every event from now on follows. Raises StoreUnavailable, LayoutMismatch."""
        self._layout = await self._threads.run(self._records.agree_on_layout, self._groups, self._operations)
        return self._layout

    @property
    def layout(self) -> Layout | None:
        """As it was last agreed on."""
        return self._layout

    def announce(self) -> None:
        for call in self.on_new_topics:
            call()

    def require_layout(self) -> Layout:
        """Raises LayoutMismatch where an event would go to a partition that means something else, and what is in the way
        where no layout could be agreed on yet.
        """
        if isinstance(self.problem, LayoutMismatch):
            raise self.problem
        if self._layout is None:
            raise self.problem or StoreUnavailable("The layout of the topics is not known yet")
        return self._layout

    async def _lay_out(self, layout: Layout) -> str:
        """The incarnation of `gpu-jobs`; topics that are missing are made, and all are verified."""
        await self._bus.ensure_topics(layout.topics(result_topics(self._operations)))
        self._laid_out = True
        topic_id = await self._bus.topic_id(Topic.JOBS)
        if topic_id is None:
            raise BrokerUnavailable("The topics are not there yet")
        return topic_id

    async def _asked(self, question: Awaitable[Answer]) -> Answer:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                return await question
        except TimeoutError:
            raise BrokerUnavailable(f"The broker did not answer within {CHECK_TIMEOUT:g} s") from None

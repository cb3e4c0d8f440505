"""Many things done, a few at a time, by a process that may be killed and started again: replay and backfill.

What was done before is found out anew for each item, by whoever does it: nothing is kept here between two starts.
"""

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from enum import Enum, auto
from inspect import isasyncgen
from typing import Any, Self, TypeVar

from schemas.errors import TurnstreamError

log = logging.getLogger("turnstream.resumable")

T = TypeVar("T")


class Outcome(Enum):
    """What became of an item."""

    DONE = auto()
    """It was done just now."""
    THERE = auto()
    """It was done before."""
    LEFT = auto()
    """It is none of those that are meant."""
    FAILED = auto()


@dataclass(frozen=True, slots=True)
class Tally:
    """How many items met with each outcome so far."""

    done: int = 0
    there: int = 0
    left: int = 0
    failed: int = 0

    @property
    def total(self) -> int:
        return self.done + self.there + self.left + self.failed

    def plus(self, outcome: Outcome) -> Self:
        return type(self)(
            self.done + (outcome is Outcome.DONE),
            self.there + (outcome is Outcome.THERE),
            self.left + (outcome is Outcome.LEFT),
            self.failed + (outcome is Outcome.FAILED),
        )


async def publish(
    items: AsyncIterable[T],
    act: Callable[[T], Awaitable[Outcome]],
    *,
    at_once: int,
    tell: Callable[[Tally], None],
) -> Tally:
    """Do all items, never more than `at_once` of them taken and not ended; `tell` hears the tally after each.

    A TurnstreamError that `act` raises is the item's own: it is logged, counted as FAILED, and the others go on. Anything else,
    and whatever taking the next item raises, ends all: what is under way is cancelled, and the error raised. `items` is
    closed at the end where it can be, and so it is where this call is cancelled.
    """
    tally = Tally()
    taking = asyncio.Lock()
    async with AsyncExitStack() as stack:
        if isasyncgen(items):
            await stack.enter_async_context(aclosing(items))
        source: AsyncIterator[T] = aiter(items)

        async def work() -> None:
            nonlocal tally
            while True:
                async with taking:
                    try:
                        item = await anext(source)
                    except StopAsyncIteration:
                        return
                outcome = await _outcome(act, item)
                tally = tally.plus(outcome)
                tell(tally)

        await _all(work() for _ in range(at_once))
    return tally


async def _outcome(act: Callable[[T], Awaitable[Outcome]], item: T) -> Outcome:
    try:
        return await act(item)
    except TurnstreamError as error:
        log.warning("%s: %s", item, error.detail)
        return Outcome.FAILED


async def _all(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """The first error of any ends the others, and is raised as it is."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

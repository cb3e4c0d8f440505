"""A broker or a store that is away for a moment ends no replay."""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_exponential

from schemas.errors import InfrastructureError

log = logging.getLogger("turnstream.replay")
T = TypeVar("T")

TRIES = 8
"""Of one job, where a broker or a store is away."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds between the first two of them, then twice as many each time, and at most."""


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Raises its error in the end."""

    async def call() -> T:
        return await ask()

    retrying = AsyncRetrying(
        retry=retry_if_exception_type(InfrastructureError),
        stop=stop_after_attempt(TRIES),
        wait=wait_exponential(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE),
        before_sleep=_tell,
        reraise=True,
    )
    return await retrying(call)


def _tell(state: RetryCallState) -> None:
    log.info("waiting %g s: %s", state.upcoming_sleep, state.outcome.exception() if state.outcome else None)

"""Steps that are repeated until they succeed: whoever gave one up would lose what it was for."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from schemas.errors import InfrastructureError

logger = logging.getLogger(__name__)
T = TypeVar("T")

FIRST_DELAY, LONGEST_DELAY = 0.2, 10.0


def delays() -> Iterator[float]:
    """Seconds to wait before each further try, growing."""
    delay = FIRST_DELAY
    while True:
        yield delay
        delay = min(delay * 2, LONGEST_DELAY)


async def persistently(what: str, step: Callable[[], Awaitable[T]]) -> T:
    """Repeat a step until it succeeds, with growing delays. Only cancelling ends it otherwise."""
    for delay in delays():
        try:
            return await step()
        except InfrastructureError as error:
            logger.warning("could not %s, trying again in %.1f s: %s", what, delay, error)
        except Exception:
            # Not foreseen, so worth a traceback; giving up would lose the job all the same.
            logger.exception("could not %s, trying again in %.1f s", what, delay)
        await asyncio.sleep(delay)
    raise AssertionError("delays have no end")

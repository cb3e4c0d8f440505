"""Threads of our own for blocking calls: nothing else that uses the loop's default ones can take them all."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    def __init__(self, size: int = 32) -> None:
        self._pool = ThreadPoolExecutor(size, thread_name_prefix="blocking")

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: call(*args, **kwargs))

    async def take(self, items: Iterator[T], count: int) -> list[T]:
        """The next of what blocks, at most so many; none at its end."""
        return await self.run(lambda: list(islice(items, count)))

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

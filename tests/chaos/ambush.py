"""Lying in wait at named points (`turnstream.points`): at one first, and at one more after the other while nobody comes."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

WIDER = 8.0
"""Seconds in which nobody passes until one more point is watched."""
LOOK = 0.02
STILL = 5.0
"""Seconds until whoever has taken an order is struck by it; one that others continue in that moment is never seen still."""


class Met(NamedTuple):
    point: str
    pid: int


class Ambush:
    """The folder of orders, for several who lie in wait there."""

    def __init__(self, folder: Path, *, wider: float = WIDER) -> None:
        self._folder, self._wider = folder, wider
        self._watched: set[str] = set()
        """Points with an order: two orders for one point could not be told apart."""
        self.in_vain: Counter[str] = Counter()
        """How often a point was left again, since somebody came elsewhere or the time was over."""

    async def meet(self, points: Sequence[str], sent: signal.Signals, until: float) -> list[Met]:
        """Strike whoever comes first to one of these points. Nobody is met where nobody came before `until` (of the monotonic
        clock), and several where they came to different points in the same moment.
        """
        mine: list[str] = []
        following = time.monotonic()
        while (now := time.monotonic()) < until and all((self._folder / point).exists() for point in mine):
            if now >= following and (free := next((each for each in points if each not in self._watched), None)):
                self._watch(free, sent)
                mine.append(free)
                following = now + self._wider
            await asyncio.sleep(LOOK)
        taken = [point for point in mine if not self._withdrawn(point)]
        return [Met(point, await self._struck_at(point)) for point in taken]

    def _watch(self, point: str, sent: signal.Signals) -> None:
        self._watched.add(point)
        draft = self._folder / f".{point}"
        draft.write_text(sent.name)
        draft.rename(self._folder / point)

    def _withdrawn(self, point: str) -> bool:
        """False where somebody has passed it."""
        try:
            (self._folder / point).unlink()
        except FileNotFoundError:
            return False
        self._watched.discard(point)
        self.in_vain[point] += 1
        return True

    async def _struck_at(self, point: str) -> int:
        """The process that took the order there, once it is dead or stopped: it still had to read it."""
        [taken] = self._folder.glob(f"{point}:*")
        pid = int(taken.name.rpartition(":")[2])
        with suppress(TimeoutError):
            async with asyncio.timeout(STILL):
                while not _still(pid):
                    await asyncio.sleep(LOOK)
        taken.unlink()
        self._watched.discard(point)
        return pid


def _still(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}
    except psutil.NoSuchProcess:
        return True

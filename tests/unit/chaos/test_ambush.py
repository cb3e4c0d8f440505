"""Waiting at named points for processes that pass them, or do not."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.ambush import Ambush, Met
from turnstream import points

SOON = 20.0
FOR_EVER = "import sys, time; from turnstream import points\nwhile True: points.passing(sys.argv[1]); time.sleep(0.01)"


def now_and(seconds: float) -> float:
    return time.monotonic() + seconds


def orders(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def passes(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Start a process that passes a point again and again."""
    started: list[subprocess.Popen[bytes]] = []

    def start(point: str) -> subprocess.Popen[bytes]:
        env = os.environ | {points.ENV: str(tmp_path)}
        started.append(subprocess.Popen([sys.executable, "-c", FOR_EVER, point], env=env))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


async def test_who_passes_is_struck(tmp_path: Path, passes: Callable[[str], subprocess.Popen[bytes]]):
    process = passes("a")
    assert await Ambush(tmp_path).meet(["a", "b"], signal.SIGKILL, now_and(SOON)) == [Met("a", process.pid)]
    assert process.wait() == -signal.SIGKILL
    assert orders(tmp_path) == set()


async def test_where_nobody_passes_other_points_are_watched_too(
    tmp_path: Path, passes: Callable[[str], subprocess.Popen[bytes]]
):
    process = passes("c")
    ambush = Ambush(tmp_path, wider=0.05)
    assert await ambush.meet(["a", "b", "c"], signal.SIGKILL, now_and(SOON)) == [Met("c", process.pid)]
    assert ambush.in_vain == {"a": 1, "b": 1}
    assert orders(tmp_path) == set()


async def test_two_never_watch_the_same_point(tmp_path: Path):
    ambush = Ambush(tmp_path, wider=0.01)
    waiting = [asyncio.create_task(ambush.meet("abc", signal.SIGKILL, now_and(SOON))) for _ in range(2)]
    async with asyncio.timeout(SOON):
        while orders(tmp_path) != {"a", "b", "c"}:  # noqa: ASYNC110 - of files
            await asyncio.sleep(0.01)
    pids = {"a": 1 << 22, "b": (1 << 22) + 1}  # of no process: as if it had died of its order
    for point, pid in pids.items():
        (tmp_path / point).rename(tmp_path / f"{point}:{pid}")
    async with asyncio.timeout(SOON):
        met = [each for task in waiting for each in await task]
    assert sorted(met) == [Met(point, pid) for point, pid in pids.items()]
    assert orders(tmp_path) == set()


async def test_nobody_came_in_time(tmp_path: Path):
    assert await Ambush(tmp_path, wider=0.01).meet(["a", "b"], signal.SIGKILL, now_and(0.1)) == []
    assert orders(tmp_path) == set()

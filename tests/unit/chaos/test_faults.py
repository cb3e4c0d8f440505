"""Carrying a schedule out: a fault waits for its victim, and what has found nobody in the end is told as too little."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.chaos.faults import STEPS, Strike, Striker
from tests.chaos.report import shortfall
from tests.chaos.schedule import Act, Fault, Ground, Victim

SOON = 20.0


@dataclass
class Place:
    """As much of a `Field` as a striker wants; its one worker is there at the third look."""

    points: Path
    worker: subprocess.Popen[bytes] | None = None
    ground: Ground = field(default=Ground((Victim.API, Victim.WORKER), ("a", "b"), session=6, joining=False))
    servers: dict[Victim, object] = field(default_factory=dict)
    looks: int = 0

    def processes(self, victim: Victim) -> dict[str, int]:
        if self.worker is None or victim is not Victim.WORKER:
            return {}
        self.looks += 1
        return {"worker-1": self.worker.pid} if self.looks > 2 else {}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as worker:
        yield Place(tmp_path, worker)
        worker.kill()


async def carried_out(place: Place, limit: float, *faults: Fault) -> list[Strike]:
    striker = Striker(place, lambda _: None, tuple)  # type: ignore[arg-type]
    await striker.carry_out(faults, limit)
    return striker.strikes


def kill(*points: str) -> Fault:
    return Fault(0, Act.KILL, Victim.WORKER, points, hold=0, pick=0)


async def test_a_victim_that_is_just_starting_is_waited_for(place: Place):
    [strike] = await carried_out(place, SOON, kill())
    assert (strike.struck, strike.process) == (True, "worker-1")
    assert place.worker is not None
    assert place.worker.wait() == -signal.SIGKILL


async def test_the_next_fault_waits_until_the_stack_lives_again(place: Place):
    accepted, looks = 0, 0

    def life() -> tuple[int]:
        nonlocal accepted, looks
        looks += 1
        accepted += looks > 20
        return (accepted,)

    seen: list[int] = []
    striker = Striker(place, lambda _: seen.append(accepted), life)  # type: ignore[arg-type]
    await striker.carry_out([kill()], SOON)
    assert seen[0] >= STEPS


async def test_what_finds_nobody_in_time_has_not_struck(tmp_path: Path):
    strikes = await carried_out(Place(tmp_path), 0.2, *(kill("a", "b") for _ in range(5)), kill(), kill())
    assert [strike.struck for strike in strikes] == [False] * 7
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240


@pytest.mark.parametrize(
    ("kills", "at_points", "short"), [(20, 10, False), (22, 11, False), (19, 10, True), (20, 9, True)]
)
def test_a_run_is_short_of_kills_or_of_those_at_points(kills: int, at_points: int, short: bool):
    report = {"options": {"kills": 20}, "faults": {"kills": kills, "kills_at_points": at_points}}
    assert bool(shortfall(report)) is short

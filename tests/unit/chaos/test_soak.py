"""What counts as growth: a leak within a life or from one to the next, not the warming up, not the noise."""

import random
from collections.abc import Callable

import pytest

from tests.chaos.schedule import Act, Fault, Victim
from tests.chaos.soak import EVERY, MIB, Growth, Sample, growths, spared

LENGTH = 900.0


def lives(memory: Callable[[float, float], float], *, each: float = 150.0) -> list[Sample]:
    """Samples of one role whose processes live `each` seconds; `memory` knows the age and the time."""
    samples: list[Sample] = []
    for number in range(int(LENGTH / each)):
        for tick in range(int(each / EVERY)):
            age = tick * EVERY
            at = number * each + age
            samples.append(Sample(at, "worker", number, age, int(memory(age, at)), files=20, threads=8))
    return samples


def memory(samples: list[Sample]) -> Growth:
    return next(growth for growth in growths(samples, LENGTH) if growth.measure == "memory")


@pytest.mark.parametrize("each", [150.0, 900.0])
def test_a_leak_within_a_life_is_growth(each: float):
    assert memory(lives(lambda age, at: 100 * MIB + age * 0.05 * MIB, each=each)).grows


def test_a_leak_from_life_to_life_is_growth():
    assert memory(lives(lambda age, at: 100 * MIB + at // 150 * 10 * MIB)).grows


def test_warming_up_and_noise_are_none():
    drawn = random.Random(7)  # noqa: S311 - not for secrets
    grown = memory(lives(lambda age, at: 100 * MIB + min(age, 40.0) * MIB + drawn.gauss(0, MIB)))
    assert not grown.grows


def test_a_life_that_is_not_long_enough_says_nothing():
    assert growths(lives(lambda age, at: at * MIB, each=50.0), LENGTH) == []


@pytest.mark.parametrize(
    ("act", "victim", "point", "spared_act"),
    [
        (Act.KILL, Victim.API, None, Act.STOP),
        (Act.KILL, Victim.BROKER, "delivery.stored", Act.STOP),  # whom it strikes there is the worker
        (Act.LEAVE, Victim.WORKER, None, Act.STOP),
        (Act.KILL, Victim.BROKER, None, Act.KILL),
        (Act.KILL, Victim.WORKER, "engine.opened", Act.KILL),
        (Act.JOIN, Victim.WORKER, None, Act.JOIN),
    ],
)
def test_whoever_is_to_live_long_is_stopped_and_not_killed(
    act: Act, victim: Victim, point: str | None, spared_act: Act
):
    assert spared(Fault(1.0, act, victim, point, hold=2.0, pick=0.5)).act is spared_act

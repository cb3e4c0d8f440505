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
    ("act", "victim", "points", "spared_act"),
    [
        (Act.KILL, Victim.API, (), Act.STOP),
        (Act.KILL, Victim.BROKER, ("delivery.stored",), Act.STOP),  # whom it strikes there is the worker
        (Act.LEAVE, Victim.WORKER, (), Act.STOP),
        (Act.KILL, Victim.BROKER, (), Act.KILL),
        (Act.KILL, Victim.WORKER, ("engine.opened",), Act.KILL),
        (Act.JOIN, Victim.WORKER, (), Act.JOIN),
    ],
)
def test_whoever_is_to_live_long_is_stopped_and_not_killed(
    act: Act, victim: Victim, points: tuple[str, ...], spared_act: Act
):
    assert spared(Fault(1.0, act, victim, points, hold=2.0, pick=0.5)).act is spared_act


def test_whoever_kills_an_engine_waits_at_no_point_of_those_who_are_to_live_long():
    waiting = Fault(1.0, Act.KILL, Victim.ENGINE, ("engine.opened", "delivery.told", "intake.audio"), hold=0, pick=0)
    assert spared(waiting).points == ("engine.opened",)

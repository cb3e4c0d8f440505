"""Patterns of arrival: which jobs come when. The same at every run."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random

from schemas.jobs import Lane

MODELS = ("diarize", "transcribe", "speak")


@dataclass(frozen=True, slots=True)
class Arrival:
    """All times of this bench are whole milliseconds."""

    at: int
    model: str
    work: int
    lane: Lane = Lane.INTERACTIVE
    owner: str = "one"


@dataclass(frozen=True, slots=True)
class Pattern:
    name: str
    arrivals: tuple[Arrival, ...]
    """By time."""
    loads: Mapping[str, int]
    step: int
    """How long a step of the engine takes, at most."""

    @property
    def work(self) -> int:
        return sum(arrival.work for arrival in self.arrivals)


def pattern(name: str, arrivals: list[Arrival], loads: Mapping[str, int], step: int) -> Pattern:
    return Pattern(name, tuple(sorted(arrivals, key=lambda arrival: arrival.at)), loads, step)


def poisson(random: Random, count: int, mean: float) -> Iterator[int]:
    """So many times, on average `mean` apart."""
    at = 0.0
    for _ in range(count):
        at += random.expovariate(1 / mean)
        yield round(at)


def at_once(random: Random, count: int, work: int) -> list[Arrival]:
    return [Arrival(0, random.choice(MODELS), work) for _ in range(count)]


def by_rate(random: Random, count: int, mean: float, shares: tuple[int, int, int] = (1, 1, 1)) -> list[Arrival]:
    return [Arrival(at, random.choices(MODELS, shares)[0], 100) for at in poisson(random, count, mean)]


def bursts(random: Random) -> list[Arrival]:
    """Every half minute somebody sends 40 to 80 files for one model within two seconds, others a few."""
    found = [Arrival(at, random.choice(MODELS), 100) for at in poisson(random, 60, 4000)]
    for burst in range(8):
        model = random.choice(MODELS)
        for _ in range(random.randint(40, 80)):
            found.append(Arrival(burst * 30_000 + random.randrange(2000), model, 100, Lane.BATCH, "two"))
    return found


def flood(random: Random) -> list[Arrival]:
    """One owner sends 250 files at once, others go on sending theirs for two other models."""
    found = [Arrival(0, MODELS[0], 300, Lane.BATCH, "flood") for _ in range(250)]
    return found + [Arrival(at, random.choice(MODELS[1:]), 300) for at in poisson(random, 50, 1500)]


def long_among_short(random: Random) -> list[Arrival]:
    """Four recordings that take half a minute each, while short ones for all models keep coming."""
    found = [Arrival(at, MODELS[0], 30_000, Lane.BATCH, "long") for at in (0, 1000, 20_000, 60_000)]
    return found + [Arrival(at, random.choice(MODELS), 500) for at in poisson(random, 70, 2000)]


FACTS = {"diarize": 2000, "transcribe": 2000, "speak": 2000}
UNEQUAL = {"diarize": 2000, "transcribe": 4000, "speak": 3000}

_MAKERS: dict[str, tuple[Callable[[Random], list[Arrival]], Mapping[str, int], int]] = {
    "uniform mix, at once": (lambda random: at_once(random, 200, 100), FACTS, 100),
    "uniform mix, longer": (lambda random: at_once(random, 200, 300), FACTS, 300),
    "uniform mix, 5 a second": (lambda random: by_rate(random, 600, 200), FACTS, 100),
    "bursts": (bursts, UNEQUAL, 100),
    "80/10/10": (lambda random: by_rate(random, 600, 200, (8, 1, 1)), UNEQUAL, 100),
    "one flood": (flood, FACTS, 300),
    "trickle": (lambda random: by_rate(random, 60, 4000), UNEQUAL, 100),
    "long files among short": (long_among_short, FACTS, 500),
}


def patterns() -> list[Pattern]:
    seed = 7
    return [
        pattern(name, make(Random(seed)), loads, step)  # noqa: S311 (repeatable, not secret)
        for name, (make, loads, step) in _MAKERS.items()
    ]

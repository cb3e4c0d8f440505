"""Which faults strike when, in what order: drawn from a seed, so that a run can be had again."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Act(StrEnum):
    KILL = "kill"
    """SIGKILL. Whoever looks after the victim starts it again."""
    STOP = "stop"
    """SIGSTOP, and SIGCONT later."""
    LEAVE = "leave"
    """SIGTERM to a worker: its partitions move, or come back with its successor."""
    JOIN = "join"
    """One more worker, which leaves again later: partitions move twice."""


class Victim(StrEnum):
    BROKER = "broker"
    STORE = "store"
    API = "api"
    WORKER = "worker"
    ENGINE = "engine"


@dataclass(frozen=True, slots=True)
class Fault:
    gap: float
    """Seconds after the fault before it."""
    act: Act
    victim: Victim
    points: tuple[str, ...]
    """Named points (`turnstream.points`) in the order in which they are watched: whoever passes is struck. None: at once."""
    hold: float
    """Seconds that a victim stays stopped, a server down, or one more worker in its group."""
    pick: float
    """0 to 1: which one of several."""


INTAKE = ("marked", "audio", "recorded", "indexed", "published", "queued", "promised")
OPENING = ("looked", "counted", "opened")
DELIVERY = ("computed", "stored", "ended", "told", "unmarked", "acknowledged")
TRANSACTION = ("begun", "sent", "offsets", "committed")
RETRY = ("sent", "marked", "forwarded")


def points(*, transactional: bool) -> tuple[str, ...]:
    """All that a stack may pass."""
    of = {"intake": INTAKE, "run": ("marked",), "opening": OPENING, "delivery": DELIVERY, "retry": RETRY}
    of |= {"sweep": ("published",), "engine": ("opened",)} | ({"transaction": TRANSACTION} if transactional else {})
    return tuple(f"{place}.{step}" for place, steps in of.items() for step in steps)


def victim_at(point: str) -> Victim:
    """Who passes there."""
    others = {"intake": Victim.API, "run": Victim.API, "sweep": Victim.API, "engine": Victim.ENGINE}
    return others.get(point.partition(".")[0], Victim.WORKER)


@dataclass(frozen=True, slots=True)
class Ground:
    """What a schedule has to know of a stack."""

    victims: tuple[Victim, ...]
    points: tuple[str, ...]
    session: float
    """Seconds after which the broker takes a silent worker for dead."""
    joining: bool
    """Whether workers may join by hand."""


WEIGHTS = {Victim.BROKER: 2, Victim.STORE: 2, Victim.API: 3, Victim.WORKER: 4, Victim.ENGINE: 3}
STOPS, MOVES = 1 / 4, 1 / 10
"""So many, a kill."""
LONG = 1 / 8
"""Of the stops, this part lasts longer than the session."""


def schedule(seed: int, kills: int, pace: float, ground: Ground) -> list[Fault]:
    """`kills` kills, every second one at a named point; stops and rebalances come beside them. `pace`: mean seconds between
    two faults.
    """
    draw = random.Random(seed)
    places = point_after_point(draw, ground.points)
    acts = [(Act.KILL, number % 2 == 1) for number in range(kills)]
    acts += [(Act.STOP, number % 4 == 3) for number in range(round(kills * STOPS))]
    moves = (Act.LEAVE, Act.JOIN) if ground.joining else (Act.LEAVE,)
    acts += [(moves[number % len(moves)], False) for number in range(round(kills * MOVES))]
    draw.shuffle(acts)
    return [_fault(draw, act, next(places) if at_point else (), pace, ground) for act, at_point in acts]


def point_after_point(draw: random.Random, points: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """All of them, each as often the first as the others, the rest in any order; for ever."""
    while True:
        for first in draw.sample(points, len(points)):
            yield (first, *(other for other in draw.sample(points, len(points)) if other != first))


def _fault(draw: random.Random, act: Act, points: tuple[str, ...], pace: float, ground: Ground) -> Fault:
    if points:
        victim = victim_at(points[0])
    elif act in {Act.LEAVE, Act.JOIN}:
        victim = Victim.WORKER
    else:
        victim = draw.choices(ground.victims, [WEIGHTS[each] for each in ground.victims])[0]
    gap = min(draw.expovariate(1 / pace), 4 * pace)
    return Fault(gap, act, victim, points, _hold(draw, act, victim, ground.session), draw.random())


def _hold(draw: random.Random, act: Act, victim: Victim, session: float) -> float:
    if act is Act.STOP:
        too_long = draw.random() < LONG and victim is not Victim.STORE
        return session * draw.uniform(1.1, 1.5) if too_long else draw.uniform(0.1, 3.0)
    return draw.uniform(5, 15) if act is Act.JOIN else draw.uniform(0, 2)

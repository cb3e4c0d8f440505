"""Tickets, and a scheduler that is told what happened to them."""

from processor.scheduler import Scheduler, Swap, Ticket
from schemas.jobs import Lane


def ticket(
    n: int, model: str = "a", lane: Lane = Lane.INTERACTIVE, since: float | None = None, alone: bool = False
) -> Ticket:
    return Ticket((f"job-{n}", "live"), model, lane, "one", float(n) if since is None else since, alone=alone)


def scheduler(capacity: int = 4, max_run: int = 1000, linger: float = 1.0) -> Scheduler:
    return Scheduler(capacity, max_wait=20.0, max_run=max_run, linger=linger, step=0.5)


def loaded(of: Scheduler, model: str, now: float, takes: float = 2.0) -> None:
    """The swap to a model that was just answered is over."""
    of.swap_takes(model, takes)
    of.models(frozenset({model}), frozenset())


def start(of: Scheduler, model: str = "a", now: float = 0.0) -> None:
    """The first job of a model waits already."""
    assert of.next(now) == Swap(model)
    loaded(of, model, now)


def opened(of: Scheduler, now: float, *backlog: str) -> list[str]:
    """Opens what may be opened."""
    found = []
    while isinstance(answer := of.next(now, backlog), Ticket):
        found.append(answer.id[0])
    assert answer is None
    return found


def one_by_one(of: Scheduler, now: float = 0.0) -> list[str]:
    """Opens one job after the other, each alone, until none waits or another model is wanted."""
    order = []
    while isinstance(found := of.next(now), Ticket):
        order.append(found.id[0])
        of.close(found.id)
    return order

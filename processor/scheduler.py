"""Which job is opened next, and when another model takes over. Pure: no broker, no engine, no event loop, no clock.

Loading a model costs seconds, so the scheduler stays with the one in focus while its jobs wait, and still lets nobody
wait too long:

- It leaves when the oldest waiting or parked job of another model has waited `max_wait`. Counted from when the job came
  or that model was last left, whichever is later: in overload it would else swap after each job. Where several models
  wait it leaves early enough to be in time for each, going to them in the order of their deadlines, a load and two
  steps each, or as long as it takes to finish its queue where that is short: whoever is left with a few jobs must be
  come back to. So the swap to a model begins at most `max_wait` and a step after its wait began, provided that
  `max_wait` is no less than the loads of all other models and two steps for each.
- It leaves after `max_run` jobs, as soon as they have ended, and when nothing is left to do here. Jobs of the focus that
  lie in the backlog but have not been received yet are waited for, `linger` seconds at most.
- Towards the deadline it opens only jobs that end in time at the pace of the visit so far. What is still open at the
  swap is parked: it stays in the engine, waits from then on, and goes on before all others once its model is back.

An interactive job goes before those of the batch lane, but breaks no visit to another model before `max_wait`: a swap
there and back would cost everybody else more than it brings. Models that fit into memory together need no swap, and
the order among their jobs is that of urgency alone.
"""

from collections import deque
from collections.abc import Container
from dataclasses import dataclass, field

from processor.lanes import Lanes, Ticket
from schemas.jobs import JobKey, Lane

__all__ = ["BATCH_SHARE", "Scheduler", "Swap", "Ticket"]

BATCH_SHARE = 4
"""While both lanes wait, one opening in so many goes to the batch lane."""

UNMEASURED_LOAD = 5.0
"""Seconds that a load is taken to last before it was measured, or as long as the longest that was."""


FINISHING_SHARE = 0.25
"""Of max_wait, so much at most is kept free on the way past several waiting models, to finish short queues there."""


@dataclass(frozen=True, slots=True)
class Swap:
    """Make this model the focus. Open jobs of models that must be unloaded for it are parked, those of others go on."""

    model: str


@dataclass(slots=True)
class _Model:
    name: str
    lanes: Lanes = field(default_factory=Lanes)
    open: dict[JobKey, Ticket] = field(default_factory=dict)
    """Parked while the model is not loaded."""
    left: float = float("-inf")
    """When it was last left for another."""
    load: float | None = None
    """Seconds, as measured last."""

    @property
    def since(self) -> float:
        """From when on its wait counts, while it is away; infinite where nothing of it waits."""
        return self.left if self.open else max(self.lanes.oldest, self.left)


@dataclass(slots=True)
class _Visit:
    """The time between two swaps."""

    begun: float | None = None
    """When the model was there; None while it is loading."""
    opened: int = 0
    closed: int = 0
    idle: float | None = None
    """Since when nothing of it waits or is open."""
    pace: float = 0.0
    """Seconds between two ends of jobs, on average; 0 while none has ended."""
    paced: int = 0
    """How many had ended when that was reckoned."""

    def keep_pace(self, now: float) -> None:
        if self.begun is not None and self.closed > self.paced:
            self.pace, self.paced = (now - self.begun) / self.closed, self.closed


class Scheduler:
    """Holds the tickets that wait and knows which jobs are open and which parked.

    All times are seconds on one scale. `next` is asked after every other call, and when `wake_at` says so, until it
    answers None. A swap is over once `models` names its model as resident; jobs are opened during the load already, so
    that their audio is fetched meanwhile.

    In each lane owners get equal shares, and the oldest job of an owner goes first. Batch jobs never hold the last
    place, so an interactive one is admitted while they run for hours. A job marked `alone` goes before all others, when
    nothing else is open, and nothing is opened, nor swapped to, beside it: suspects come from a lost engine. A recording of
    hours must not stop everybody for that: after `max_wait` interactive jobs are opened all the same, and swaps made.
    """

    def __init__(self, capacity: int, *, max_wait: float, max_run: int, linger: float, step: float = 0.5) -> None:
        """`step`: seconds that a step of the engine takes at most. A visit lasts a step at least, so that it gets on."""
        self._capacity = capacity
        self._batch_capacity = max(1, capacity - 1)
        self._max_wait, self._max_run, self._linger, self._step = max_wait, max_run, linger, step
        self._models: dict[str, _Model] = {}
        self._waiting: dict[JobKey, Ticket] = {}
        self._suspects: deque[JobKey] = deque()
        self._apart: dict[JobKey, float] = {}
        """Open suspects, and when they were opened."""
        self._to_be_apart: float | None = None
        """Since when a suspect waits for others to end."""
        self._focus: str | None = None
        self._loading = False
        self._active: frozenset[str] = frozenset()  # in focus or resident: their jobs get on
        self._fitting: frozenset[str] = frozenset()
        self._visit = _Visit()
        self._openings_without_batch = 0

    # What is here

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def open(self) -> frozenset[JobKey]:
        """Jobs in the engine that get on."""
        return frozenset(id for model in self._here() for id in model.open)

    @property
    def parked(self) -> frozenset[JobKey]:
        """Jobs in the engine whose model is not there."""
        return frozenset(id for model in self._models.values() if model.name not in self._active for id in model.open)

    @property
    def focus(self) -> str | None:
        return self._focus

    @property
    def next_model(self) -> str | None:
        """The model to which the next swap is expected."""
        away = self._away()
        return away[0].name if away else None

    # What happens

    def add(self, ticket: Ticket) -> None:
        """Let a job wait. One that waits, is open or is parked already stays as it is."""
        model = self._model(ticket.model)
        if ticket.id in self._waiting or any(ticket.id in model.open for model in self._models.values()):
            return
        self._waiting[ticket.id] = ticket
        if ticket.alone:
            self._suspects.append(ticket.id)
        else:
            model.lanes.add(ticket)

    def remove(self, id: JobKey) -> bool:
        """Take a waiting job out; False where it does not wait."""
        ticket = self._waiting.pop(id, None)
        if ticket is None:
            return False
        if ticket.alone:
            self._suspects.remove(id)
        else:
            self._models[ticket.model].lanes.remove(ticket)
        return True

    def drop_all(self) -> list[Ticket]:
        """Take every waiting job out: its partition may go to another worker. Open and parked jobs stay."""
        dropped = list(self._waiting.values())
        self._waiting.clear()
        self._suspects.clear()
        for model in self._models.values():
            model.lanes = Lanes()
        return dropped

    def close(self, id: JobKey) -> None:
        """An open or parked job has ended or was handed back; its place is free."""
        for model in self._models.values():
            if model.open.pop(id, None) is not None and model.name in self._active:
                self._visit.closed += 1
        self._apart.pop(id, None)

    def models(self, resident: frozenset[str], fitting: frozenset[str]) -> None:
        """What is loaded now, and what would load without unloading another.

        What is told before the model in focus has come is from before the swap, and is left aside.
        """
        if self._loading and self._focus not in resident:
            return
        self._loading = False
        self._active, self._fitting = resident, fitting - resident
        if self._focus not in resident:
            self._focus = None

    def swap_takes(self, model: str, seconds: float) -> None:
        """How long the last load of a model took."""
        self._model(model).load = seconds

    def lost(self) -> None:
        """The engine was replaced: nothing is loaded. Its jobs are closed one by one."""
        self._focus, self._loading, self._active, self._fitting = None, False, frozenset(), frozenset()

    # What to do

    def next(self, now: float, backlog: Container[str] = ()) -> Ticket | Swap | None:
        """The job to open now, which then counts as open, or the swap to make, which then counts as made.

        `backlog`: the models of which jobs lie in the assigned partitions that have not been received yet.
        """
        if self._visit.begun is None and (not self._loading or self._visit.closed):
            self._visit.begun = now  # where a load fails, its jobs end although the model never comes
        self._visit.keep_pace(now)
        if self._all_wait(now):
            return None
        if self._may_go_alone():
            return self._next_suspect(now)
        if not (away := self._away()):
            self._visit.idle = None
        elif self._leaves(now, away, backlog):
            return self._swap(away[0].name, now)
        elif not self._admits(now, away):
            return None
        return self._next_job(now)

    def wake_at(self, now: float) -> float | None:
        """When the answer of `next` may change by itself; None where only another call can change it."""
        away = self._away()
        if self._all_wait(now):
            return (self._apart_since(now) or now) + self._max_wait
        if not away or self._visit.begun is None:
            return None
        at = self._leave_by(away, self._visit.begun)
        if self._visit.idle is not None:
            at = min(at, self._visit.idle + self._linger)
        return max(at, now)

    def _leaves(self, now: float, away: list[_Model], backlog: Container[str]) -> bool:
        visit = self._visit
        if visit.begun is None:
            return False
        here = self._here()
        if now >= self._leave_by(away, visit.begun):
            return True
        if any(model.open for model in here):
            return False
        if any(model.lanes for model in self._reachable()):
            visit.idle = None
            return not self._admits(now, away)
        visit.idle = now if visit.idle is None else visit.idle
        return now >= visit.idle + self._linger or not any(model.name in backlog for model in here)

    def _leave_by(self, away: list[_Model], begun: float) -> float:
        """The last moment at which leaving is in time for all who wait, one after the other."""
        by, ahead, spare = float("inf"), 0.0, self._max_wait * FINISHING_SHARE
        for model in away:
            by = min(by, model.since + self._max_wait - ahead)
            needs = len(model.lanes) * self._visit.pace
            if needs > spare:
                needs = 0.0
            spare -= needs
            ahead += self._load(model) + max(needs, 2 * self._step)  # a swap waits for the end of a step
        return max(by, begun + self._step)

    def _admits(self, now: float, away: list[_Model]) -> bool:
        """Whether one more job may be opened in this visit although others wait."""
        visit = self._visit
        if visit.begun is None or not visit.opened:
            return True
        if visit.opened >= self._max_run:
            return False
        open = sum(len(model.open) for model in self._here())
        return now + (open + 1) * visit.pace <= self._leave_by(away, visit.begun)

    def _all_wait(self, now: float) -> bool:
        """Whether nothing is opened, because a suspect is open or waits for others to end."""
        since = self._apart_since(now)
        return since is not None and now < since + self._max_wait

    def _apart_since(self, now: float) -> float | None:
        """When it began that others wait for the sake of a suspect; None where none do."""
        if not self._suspect_waits_for_others():
            self._to_be_apart = None
        elif self._to_be_apart is None or now >= self._to_be_apart + 2 * self._max_wait:
            self._to_be_apart = now  # again: those that came meanwhile may have been short
        opened = [self._apart[id] for model in self._here() for id in model.open if id in self._apart]
        return min(opened, default=self._to_be_apart)

    def _suspect_waits_for_others(self) -> bool:
        """Those that are open now. For one that is parked in its own model there is nothing to do but to get on."""
        if not self._suspects or not any(model.open for model in self._here()):
            return False
        own = self._models[self._waiting[self._suspects[0]].model]
        return own.name in self._active or not own.open

    def _may_go_alone(self) -> bool:
        """Whether a suspect waits, and would be beside nobody."""
        if not self._suspects or any(model.open for model in self._here()):
            return False
        return not self._models[self._waiting[self._suspects[0]].model].open

    def _next_suspect(self, now: float) -> Ticket | Swap:
        ticket = self._waiting[self._suspects[0]]
        if ticket.model not in self._active:
            return self._swap(ticket.model, now)
        self._apart[self._suspects.popleft()] = now
        return self._open(ticket)

    def _next_job(self, now: float) -> Ticket | Swap | None:
        for name in self._fitting:
            if name in self._models and self._models[name].open:
                return self._swap(name, now)  # there is room again for a model with parked jobs
        open = [ticket for model in self._here() for ticket in model.open.values()]
        if len(open) >= self._capacity:
            return None
        interactive, batch = self._oldest(Lane.INTERACTIVE), self._oldest(Lane.BATCH)
        batch_waits = batch is not None
        if (
            sum(ticket.lane is Lane.BATCH for ticket in open) >= self._batch_capacity
            or self._apart_since(now) is not None
        ):
            batch = None
        if interactive is not None and (batch is None or self._openings_without_batch < BATCH_SHARE - 1):
            model, lane = interactive, Lane.INTERACTIVE
        elif batch is not None:
            model, lane = batch, Lane.BATCH
        else:
            return None
        if model.name not in self._active:
            return self._swap(model.name, now)
        # Counted only while batch jobs wait: a burst of the past gives them no right to the next openings.
        passed = lane is Lane.INTERACTIVE and batch_waits
        self._openings_without_batch = self._openings_without_batch + 1 if passed else 0
        return self._open(model.lanes[lane].take())

    def _open(self, ticket: Ticket) -> Ticket:
        del self._waiting[ticket.id]
        self._models[ticket.model].open[ticket.id] = ticket
        self._visit.opened += 1
        self._visit.idle = None
        return ticket

    def _swap(self, name: str, now: float) -> Swap:
        if name in self._fitting:
            self._active |= {name}
            self._visit = _Visit(opened=self._visit.opened)
        else:
            # What stays loaded all the same, `models` will say.
            for model in self._here():
                model.left = now
            self._active = frozenset({name})
            self._visit = _Visit()
        self._focus, self._loading, self._fitting = name, True, frozenset()
        return Swap(name)

    def _model(self, name: str) -> _Model:
        return self._models.setdefault(name, _Model(name))

    def _here(self) -> list[_Model]:
        return [self._models[name] for name in self._active if name in self._models]

    def _reachable(self) -> list[_Model]:
        return [self._models[name] for name in self._active | self._fitting if name in self._models]

    def _away(self) -> list[_Model]:
        """The models that need a swap and of which jobs wait or are parked, by their deadlines."""
        out = (model for model in self._models.values() if model.name not in self._active | self._fitting)
        return sorted((model for model in out if model.since < float("inf")), key=lambda model: model.since)

    def _oldest(self, lane: Lane) -> _Model | None:
        """The model whose job has waited longest, of those whose jobs may be opened without unloading another."""
        models = [model for model in self._reachable() if model.lanes[lane]]
        return min(models, key=lambda model: model.lanes[lane].oldest, default=None)

    def _load(self, model: _Model) -> float:
        if model.load is not None:
            return model.load
        return max(UNMEASURED_LOAD, *(other.load or 0.0 for other in self._models.values()))

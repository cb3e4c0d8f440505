"""A proven lower bound of the total time of any schedule, even one that knows the future, under the same MAX_WAIT.

The rule. A swap to a model begins at most `grace` milliseconds (MAX_WAIT and a step) after its wait began: when the
oldest job that waits for it came, or when the model was last left, whichever is later. A job may be parked between two
steps, so it is cut into units of one step.

One order per model is enough. Take any schedule and let each visit do the units of its model in the order of arrival.
The same number of units is done by each moment or more, none before it came, and the oldest that waits is never older
than before, so the rule still holds. What is left to choose is how many units each visit does and who is visited next:
a state is the number of units done of each model and the model that is loaded.

Earlier is never worse. Of two ways to the same state, one that ended no later and left each other model no earlier can do
whatever the other can do, waiting where it must. So for each state only the ways matter that no other beats in both
(the label-setting of shortest paths with resources), and they are built up unit by unit.

When to wait. A swap is made at once. Waiting first could only help in that the model is left later; then all that
follows up to the return to it is later, too, and so nothing is won, except where that delay is absorbed by a gap in
which the GPU would wait for an arrival. Each gap is therefore credited in full to all waits: time in which nothing
arrives and nothing is done does not count as waiting. This allows more than the rule, so what comes out is a bound from
below and no schedule does better; it is the exact best wherever the GPU never idles while something waits.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.bench.scheduling.patterns import Pattern

Ints = NDArray[np.int64]
NEVER = np.int64(1 << 50)

STRIDE = 1000
"""Milliseconds by which longer schedules are allowed."""

LABELS = 60_000
"""So many are kept for one number of units at most."""

CLOSE = 0.99
"""A bound that comes so near the incumbent is good enough."""


class _TooMany(Exception):
    pass


@dataclass(slots=True)
class _Labels:
    """Ways to do so many units, a row each."""

    done: Ints
    """[labels, models]"""
    model: Ints
    """[labels]: the one loaded, -1 before the first load."""
    now: Ints
    """[labels]"""
    since: Ints
    """[labels, models]: when the wait of a model began that is not loaded; NEVER for the loaded one and those all done."""

    def of(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> "_Labels":
        return _Labels(self.done[rows], self.model[rows], self.now[rows], self.since[rows])


class _Search:
    def __init__(self, pattern: Pattern, grace: int, incumbent: int) -> None:
        names = list(pattern.loads)
        units = [
            [u for a in pattern.arrivals if a.model == name for u in _units(a.at, a.work, pattern.step)]
            for name in names
        ]
        width = max(map(len, units)) + 1
        self.loads = np.array([pattern.loads[name] for name in names])
        self.counts = np.array([len(of) for of in units])
        self.release = np.full((len(names), width), NEVER)
        self.work = np.zeros((len(names), width), np.int64)
        for model, of in enumerate(units):
            for number, (at, work) in enumerate(of):
                self.release[model, number], self.work[model, number] = at, work
        # What remains to be done from each unit of a model on.
        self.rest = np.cumsum(self.work[:, ::-1], axis=1)[:, ::-1]
        self.grace, self.incumbent = grace, incumbent

    def best(self) -> int | None:
        """None where no schedule that ends before the incumbent keeps the rule."""
        models = len(self.counts)
        since = np.where(self.counts > 0, self.release[:, 0], NEVER)[None]
        labels = _Labels(np.zeros((1, models), np.int64), np.array([-1]), np.array([0]), since)
        for _ in range(self.counts.sum()):
            labels = self._undominated(self._join([self._served(labels, model) for model in range(models)]))
            if not len(labels.now):
                return None
            if len(labels.now) > LABELS:
                raise _TooMany
        return int(labels.now.min())

    def _served(self, labels: _Labels, model: int) -> _Labels:
        """One more unit of this model done, after a swap where it is not loaded."""
        stays = labels.model == model
        able = (labels.done[:, model] < self.counts[model]) & (
            stays | (labels.now <= labels.since[:, model] + self.grace)
        )
        labels, stays = labels.of(able), stays[able]
        if not len(labels.now):
            return labels
        since, row = labels.since.copy(), np.arange(len(labels.now))
        left = np.where(stays | (labels.model < 0), model, labels.model)
        next_release = self.release[left, labels.done[row, left]]
        since[row, left] = np.maximum(next_release, labels.now)
        since[:, model] = NEVER
        there = labels.now + np.where(stays, 0, self.loads[model])
        unit = labels.done[:, model]
        gap = np.maximum(0, self.release[model, unit] - there)
        done = labels.done.copy()
        done[:, model] += 1
        now = there + gap + self.work[model, unit]
        since = np.where(since >= NEVER, NEVER, since + gap[:, None])
        if self.grace >= NEVER:
            since[:] = NEVER
        served = _Labels(done, np.full_like(labels.model, model), now, since)
        return served.of(now + self._remains(done, model) <= self.incumbent)

    def _remains(self, done: Ints, model: int) -> Ints:
        """The work left, and a load of each other model that has some."""
        models = np.arange(len(self.counts))
        loads = np.where((done < self.counts) & (models != model), self.loads, 0)
        return self.rest[models, done].sum(axis=1) + loads.sum(axis=1)

    @staticmethod
    def _join(parts: list[_Labels]) -> _Labels:
        fields = ("done", "model", "now", "since")
        return _Labels(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))

    def _undominated(self, labels: _Labels) -> _Labels:
        """Without those that another one of the same state beats in time and in all waits."""
        key = np.ravel_multi_index((*labels.done.T, labels.model + 1), (*(self.counts + 1), len(self.counts) + 1))
        rest = np.lexsort((-labels.since.sum(axis=1), labels.now, key))
        kept: list[NDArray[np.intp]] = []
        while len(rest):
            first = np.r_[True, key[rest][1:] != key[rest][:-1]]
            lead = rest[first][np.cumsum(first) - 1]
            kept.append(rest[first])
            rest = rest[(labels.since[rest] > labels.since[lead]).any(axis=1)]
        return labels.of(np.concatenate(kept)) if kept else labels


def _units(at: int, work: int, step: int) -> list[tuple[int, int]]:
    return [(at, min(step, work - done)) for done in range(0, work, step)]


def lower_bound(pattern: Pattern, max_wait: int, incumbent: int) -> int:
    """Milliseconds: no schedule under the rule ends before. `incumbent`: the total of one that keeps the rule.

    First without the rule, then with it, asking for ever longer schedules: that none ends by a time is proven with far
    fewer labels than are looked at when that time is generous. Where LABELS do not do, what is proven by then.
    """
    used = {arrival.model for arrival in pattern.arrivals}
    last = pattern.arrivals[-1]
    proven = max(pattern.work + sum(pattern.loads[model] for model in used), last.at + last.work)
    try:
        proven = _Search(pattern, int(NEVER), incumbent).best() or proven
    except _TooMany:
        return proven
    allowed = proven
    while proven < incumbent * CLOSE:
        try:
            best = _Search(pattern, max_wait + pattern.step, allowed).best()
        except _TooMany:
            return proven
        if best is not None:
            return best
        proven, allowed = allowed + 1, min(allowed + STRIDE, incumbent)
    return proven

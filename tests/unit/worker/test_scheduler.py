from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from processor.scheduler import BATCH_SHARE, Scheduler, Ticket
from schemas.jobs import Lane, Operation


def ticket(n: int, lane: Lane = Lane.INTERACTIVE, alone: bool = False, since: float | None = None) -> Ticket:
    return Ticket((f"job-{n}", "live"), Operation.DIARIZE, lane, float(n) if since is None else since, alone)


def opened(scheduler: Scheduler) -> list[str]:
    """Opens one job after the other, each alone, until none waits."""
    order = []
    while (found := scheduler.next()) is not None:
        order.append(found.id[0])
        scheduler.close(found.id)
    return order


def test_the_oldest_goes_first_whatever_the_order_of_arrival():
    scheduler = Scheduler(1)
    for n in (3, 1, 2):
        scheduler.add(ticket(n))
    assert opened(scheduler) == ["job-1", "job-2", "job-3"]


def test_no_more_than_the_capacity_is_open():
    scheduler = Scheduler(2)
    for n in range(3):
        scheduler.add(ticket(n))
    first, second = scheduler.next(), scheduler.next()
    assert first is not None and second is not None
    assert scheduler.next() is None
    scheduler.close(first.id)
    third = scheduler.next()
    assert third is not None and third.id[0] == "job-2"


def test_interactive_goes_before_batch_but_for_the_share_of_batch():
    scheduler = Scheduler(1)
    for n in range(10):
        scheduler.add(ticket(n, Lane.BATCH))
        scheduler.add(ticket(100 + n))
    lanes = ["b" if len(id) == len("job-0") else "i" for id in opened(scheduler)]
    assert "".join(lanes[:12]) == "iiibiiibiiib"
    assert BATCH_SHARE == 4


def test_a_burst_of_interactive_jobs_before_gives_batch_no_right_to_the_next_place():
    scheduler = Scheduler(1)
    for n in range(20):
        scheduler.add(ticket(n))
    opened(scheduler)
    scheduler.add(ticket(50, Lane.BATCH))
    scheduler.add(ticket(51))
    assert opened(scheduler) == ["job-51", "job-50"]


def test_a_suspect_waits_until_nothing_is_open_and_nothing_joins_it():
    scheduler = Scheduler(4)
    scheduler.add(ticket(1))
    innocent = scheduler.next()
    assert innocent is not None
    scheduler.add(ticket(2, alone=True))
    scheduler.add(ticket(0))
    assert scheduler.next() is None
    scheduler.close(innocent.id)
    suspect = scheduler.next()
    assert suspect is not None and suspect.alone
    assert scheduler.next() is None
    scheduler.close(suspect.id)
    assert opened(scheduler) == ["job-0"]


def test_a_job_is_held_once():
    scheduler = Scheduler(2)
    scheduler.add(ticket(1))
    scheduler.add(ticket(1))
    assert scheduler.waiting == 1
    assert scheduler.next() is not None
    scheduler.add(ticket(1))
    assert scheduler.waiting == 0


def test_a_removed_job_is_not_opened():
    scheduler = Scheduler(2)
    scheduler.add(ticket(1))
    scheduler.add(ticket(2, alone=True))
    assert scheduler.remove(ticket(1).id)
    assert scheduler.remove(ticket(2).id)
    assert not scheduler.remove(ticket(1).id)
    assert scheduler.next() is None


@given(st.lists(st.sampled_from(Lane), max_size=200))
def test_a_waiting_batch_job_is_passed_over_by_a_bounded_number(arrivals: list[Lane]):
    scheduler = Scheduler(1)
    scheduler.add(ticket(-1, Lane.BATCH))
    for passed, lane in enumerate([*arrivals, *[Lane.INTERACTIVE] * BATCH_SHARE]):
        assert passed < BATCH_SHARE
        scheduler.add(ticket(passed, lane))
        found = scheduler.next()
        assert found is not None
        scheduler.close(found.id)
        if found.id[0] == "job--1":
            return
    raise AssertionError("the batch job was never opened")


class SchedulerMachine(RuleBasedStateMachine):
    """Whatever happens, each job is in one place: waiting, open, or gone because somebody took it out."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler(3)
        self.waiting: dict[tuple[str, str], Ticket] = {}
        self.open: dict[tuple[str, str], Ticket] = {}
        self.made = 0

    @rule(lane=st.sampled_from(Lane), alone=st.booleans(), since=st.floats(0, 10))
    def add(self, lane: Lane, alone: bool, since: float) -> None:
        new = ticket(self.made, lane, alone, since)
        self.made += 1
        self.scheduler.add(new)
        self.waiting[new.id] = new

    @rule()
    def open_next(self) -> None:
        found = self.scheduler.next()
        if found is None:
            suspects = any(t.alone for t in (*self.waiting.values(), *self.open.values()))
            assert not self.waiting or len(self.open) == 3 or (suspects and self.open)
            return
        assert self.waiting.pop(found.id) == found
        assert found.alone or not any(t.alone for t in self.waiting.values())
        same = [t.since for t in self.waiting.values() if t.lane is found.lane and not t.alone]
        assert found.alone or all(found.since <= since for since in same)
        self.open[found.id] = found

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.open)))
        self.scheduler.close(id)
        del self.open[id]

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.waiting)))
        assert self.scheduler.remove(id)
        del self.waiting[id]

    @rule()
    def drop_all(self) -> None:
        assert {t.id for t in self.scheduler.drop_all()} == set(self.waiting)
        self.waiting.clear()

    @invariant()
    def agrees(self) -> None:
        assert self.scheduler.waiting == len(self.waiting)
        assert self.scheduler.open == set(self.open)
        assert len(self.open) <= 3
        assert len(self.open) <= 1 or not any(t.alone for t in self.open.values())

    def teardown(self) -> None:
        while self.waiting or self.open:
            self.open_next()
            for id in list(self.open):
                self.scheduler.close(id)
                del self.open[id]


TestSchedulerMachine = SchedulerMachine.TestCase
TestSchedulerMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

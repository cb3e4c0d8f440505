"""What holds of the scheduler whatever happens: jobs are neither lost nor doubled, the order is kept, waits are bounded."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from processor.scheduler import Scheduler, Swap, Ticket
from schemas.jobs import Lane
from tests.bench.scheduling.patterns import Arrival, Pattern, pattern
from tests.bench.scheduling.simulation import POLL, sticky

CAPACITY, MAX_WAIT = 3, 20
MODELS = "abc"


class SchedulerMachine(RuleBasedStateMachine):
    """Whatever happens, each job is in one place: waiting, open, parked, or gone because somebody took it out."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler(CAPACITY, max_wait=MAX_WAIT, max_run=5, linger=1)
        self.waiting: dict[tuple[str, str], Ticket] = {}
        self.engine: dict[tuple[str, str], Ticket] = {}
        self.resident: frozenset[str] = frozenset()
        self.loading: str | None = None
        self.now = 0.0
        self.made = 0
        self.apart: dict[tuple[str, str], float] = {}

    @rule(
        model=st.sampled_from(MODELS),
        lane=st.sampled_from(Lane),
        owner=st.sampled_from("xy"),
        ago=st.floats(0, 30),
        seconds=st.sampled_from([0.0, 5.0, 500.0]),
        alone=st.integers(0, 9).map(lambda number: number == 0),
    )
    def add(self, model: str, lane: Lane, owner: str, ago: float, seconds: float, alone: bool) -> None:
        new = Ticket((f"job-{self.made}", "live"), model, lane, owner, self.now - ago, seconds, alone)
        self.made += 1
        self.scheduler.add(new)
        self.scheduler.add(new)
        self.waiting[new.id] = new

    @rule(backlog=st.frozensets(st.sampled_from(MODELS)))
    def ask(self, backlog: frozenset[str]) -> None:
        before = self.scheduler.open
        answer = self.scheduler.next(self.now, backlog)
        if isinstance(answer, Swap):
            assert self.scheduler.focus == answer.model
            assert all(self.now >= MAX_WAIT + self.apart[id] for id in before if self.engine[id].alone)
            self.loading = answer.model
        elif answer is not None:
            self._opened(answer, before)

    def _opened(self, found: Ticket, before: frozenset[tuple[str, str]]) -> None:
        assert self.waiting.pop(found.id) == found
        self.engine[found.id] = found
        open = [self.engine[id] for id in before]
        assert len(open) < CAPACITY
        if any(ticket.alone for ticket in open):
            assert found.lane is Lane.INTERACTIVE and not found.alone
            assert self.now >= MAX_WAIT + min(self.apart[ticket.id] for ticket in open if ticket.alone)
        assert found.model == self.scheduler.focus or found.model in self.resident
        if found.alone:
            assert not open
            self.apart[found.id] = self.now
            return
        assert found.lane is Lane.INTERACTIVE or sum(ticket.lane is Lane.BATCH for ticket in open) < CAPACITY - 1
        if any(ticket.alone for ticket in self.waiting.values()):
            assert open or found.lane is Lane.INTERACTIVE
        beside = (found.model, found.lane, found.owner)
        rivals = [ticket for ticket in self.waiting.values() if (ticket.model, ticket.lane, ticket.owner) == beside]
        assert all(found.since <= ticket.since for ticket in rivals)

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0, 25.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(beside=st.frozensets(st.sampled_from(MODELS)), fitting=st.frozensets(st.sampled_from(MODELS)))
    def report(self, beside: frozenset[str], fitting: frozenset[str]) -> None:
        """A load is over; anything else may have stayed, and may have room."""
        focus = self.scheduler.focus
        self.resident = beside if focus is None else beside | {focus}
        if self.loading is not None:
            self.scheduler.swap_takes(self.loading, 2.0)
        self.loading = None
        self.scheduler.models(self.resident, fitting)

    @rule(stale=st.frozensets(st.sampled_from(MODELS)))
    def report_too_early(self, stale: frozenset[str]) -> None:
        if self.loading is not None:
            self.scheduler.models(stale - {self.loading}, frozenset())
            assert self.scheduler.focus == self.loading

    @rule()
    def unload_idle(self) -> None:
        if self.loading is None:
            self.resident = frozenset()
            self.scheduler.models(frozenset(), frozenset(MODELS))

    @precondition(lambda self: self.engine)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.engine)))
        self.scheduler.close(id)
        self.scheduler.close(id)
        del self.engine[id]

    @precondition(lambda self: self.engine)
    @rule()
    def lose_the_engine(self) -> None:
        for id in self.engine:
            self.scheduler.close(id)
        self.engine.clear()
        self.scheduler.lost()
        self.resident, self.loading = frozenset(), None

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.waiting)))
        assert self.scheduler.remove(id)
        assert not self.scheduler.remove(id)
        del self.waiting[id]

    @rule()
    def drop_all(self) -> None:
        assert sorted(ticket.id for ticket in self.scheduler.drop_all()) == sorted(self.waiting)
        self.waiting.clear()

    @invariant()
    def each_job_is_in_one_place(self) -> None:
        assert self.scheduler.waiting == len(self.waiting)
        assert not self.scheduler.open & self.scheduler.parked
        assert self.scheduler.open | self.scheduler.parked == set(self.engine)
        assert self.scheduler.next_model in {None, *(t.model for t in (*self.waiting.values(), *self.engine.values()))}

    @invariant()
    def the_timer_is_never_for_the_past(self) -> None:
        wake = self.scheduler.wake_at(self.now)
        assert wake is None or wake >= self.now

    def teardown(self) -> None:
        """Nothing starves: with time, a working engine and nobody adding more, every job is opened and ends."""
        for _ in range(20 * (len(self.waiting) + len(self.engine) + 1)):
            self.ask(frozenset())
            if self.loading is not None:
                self.now += 2
                self.report(frozenset(), frozenset())
            for id in sorted(self.scheduler.open):
                self.scheduler.close(id)
                del self.engine[id]
            self.now += 1
        assert not self.waiting
        assert not self.engine


TestSchedulerMachine = SchedulerMachine.TestCase
TestSchedulerMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)

ARRIVALS = st.lists(
    st.builds(
        Arrival,
        at=st.integers(0, 60_000),
        model=st.sampled_from(MODELS),
        work=st.integers(1, 40_000),
        lane=st.sampled_from(Lane),
        owner=st.sampled_from("xy"),
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(ARRIVALS, st.fixed_dictionaries({model: st.integers(0, 4000) for model in MODELS}), st.integers(100, 500))
def test_no_model_waits_longer_than_max_wait_a_step_and_a_load(
    arrivals: list[Arrival], loads: dict[str, int], step: int
):
    """Whatever comes when, and however long it takes: every job ends, and the GPU does nothing but their work and loads."""
    found = sticky(20_000, 500, 1000)(given := pattern("any", arrivals, loads, step))
    assert len(found.waits) == len(arrivals)
    assert sum(end - begin for _, begin, end in found.visits) >= given.work
    for model, waited in found.away:
        assert waited <= 20_000 + step + loads[model] + POLL  # a job that came since the last poll is not known yet


@settings(max_examples=100, deadline=None)
@given(ARRIVALS, st.integers(1, 10))
def test_max_run_changes_no_bound(arrivals: list[Arrival], max_run: int):
    loads = dict.fromkeys(MODELS, 2000)
    found = sticky(20_000, max_run, 1000)(Pattern("any", pattern("", arrivals, loads, 500).arrivals, loads, 500))
    assert len(found.waits) == len(arrivals)
    assert all(waited <= 22_500 + POLL for _, waited in found.away)

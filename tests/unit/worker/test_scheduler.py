import pytest

from processor.scheduler import BATCH_SHARE, UNMEASURED_LOAD, Scheduler, Swap, Ticket
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


class TestLanes:
    def test_the_oldest_goes_first_whatever_the_order_of_arrival(self):
        of = scheduler(1)
        for n in (3, 1, 2):
            of.add(ticket(n))
        start(of)
        assert one_by_one(of) == ["job-1", "job-2", "job-3"]

    def test_interactive_goes_before_batch_but_for_the_share_of_batch(self):
        of = scheduler(1)
        for n in range(10):
            of.add(ticket(n, lane=Lane.BATCH))
            of.add(ticket(100 + n))
        start(of)
        lanes = ["b" if len(id) == len("job-0") else "i" for id in one_by_one(of)]
        assert "".join(lanes[:12]) == "iiibiiibiiib"
        assert BATCH_SHARE == 4

    def test_a_burst_of_interactive_jobs_before_gives_batch_no_right_to_the_next_place(self):
        of = scheduler(1)
        for n in range(20):
            of.add(ticket(n))
        start(of)
        one_by_one(of)
        of.add(ticket(50, lane=Lane.BATCH))
        of.add(ticket(51))
        assert one_by_one(of) == ["job-51", "job-50"]

    def test_batch_never_holds_the_last_place(self):
        of = scheduler(3)
        for n in range(5):
            of.add(ticket(n, lane=Lane.BATCH))
        start(of)
        assert len(opened(of, 0)) == 2
        of.add(ticket(9))
        assert opened(of, 0) == ["job-9"]
        assert len(of.open) == 3

    def test_batch_has_its_share_although_interactive_jobs_fill_every_place(self):
        of = scheduler(2)
        of.add(ticket(0))
        of.add(ticket(1))
        start(of)
        opened(of, 0)
        of.add(ticket(2, lane=Lane.BATCH))
        for n in range(3, 10):
            of.add(ticket(n))
        for _ in range(BATCH_SHARE + 1):
            if ("job-2", "live") in of.open:
                return
            of.close(min(of.open))
            opened(of, 0)
        raise AssertionError("the batch job was not opened")

    def test_a_place_alone_is_for_every_lane(self):
        of = scheduler(1)
        of.add(ticket(0, lane=Lane.BATCH))
        start(of)
        assert opened(of, 0) == ["job-0"]


class TestSwaps:
    def test_it_stays_while_jobs_of_the_focus_wait(self):
        of = scheduler(1)
        for n in range(10):
            of.add(ticket(n, "ab"[n % 2], since=0.0))
        start(of)
        assert one_by_one(of) == ["job-0", "job-2", "job-4", "job-6", "job-8"]
        assert of.focus == "b"  # the answer that ended it was the swap
        loaded(of, "b", 3)
        assert one_by_one(of, 3) == ["job-1", "job-3", "job-5", "job-7", "job-9"]

    def test_jobs_are_opened_while_their_model_is_loading(self):
        of = scheduler()
        of.add(ticket(0))
        assert of.next(0) == Swap("a")
        assert opened(of, 0) == ["job-0"]

    def test_it_leaves_when_another_models_job_has_waited_long_enough_and_parks_what_is_open(self):
        of = scheduler()
        of.add(ticket(0))
        start(of)
        opened(of, 0)
        of.add(ticket(1, "b", since=5.0))
        assert of.next(5) is None
        assert of.wake_at(5) == 25.0
        assert of.next(24.9) is None
        assert of.next(25.0) == Swap("b")
        assert (of.open, of.parked) == (frozenset(), {("job-0", "live")})

    def test_a_parked_job_goes_on_once_its_model_is_back_and_counts_for_the_capacity(self):
        of = scheduler(1)
        of.add(ticket(0))
        start(of)
        opened(of, 0)
        of.add(ticket(1, "b"))
        assert of.next(30) == Swap("b")
        loaded(of, "b", 32)
        assert opened(of, 32) == ["job-1"]
        of.add(ticket(2))
        assert of.next(49.9) is None
        assert of.next(50.0) == Swap("a")  # 20 s after it was parked, not after it came
        loaded(of, "a", 52)
        assert of.open == {("job-0", "live")}
        assert of.next(52) is None
        of.close(("job-0", "live"))
        assert opened(of, 53) == ["job-2"]

    def test_in_overload_a_wait_counts_from_when_the_model_was_left(self):
        of = scheduler(1)
        for n in range(400):
            of.add(ticket(n, "ab"[n % 2], since=0.0))
        now, swaps = 0.0, 0
        while of.waiting:
            answer = of.next(now)
            if isinstance(answer, Swap):
                now, swaps = now + 2, swaps + 1
                loaded(of, answer.model, now)
            elif answer is not None:
                now += 0.5
                of.close(answer.id)
        assert swaps <= 200 / 20 + 2

    def test_of_several_that_wait_each_is_reached_in_time(self):
        of = scheduler(1)
        of.add(ticket(0, "a", since=0.0))
        start(of)
        for n, model in enumerate("bcd", 1):
            of.add(ticket(n, model, since=0.0))
            of.swap_takes(model, 2.0)
        opened(of, 0)
        assert of.wake_at(0) == 20.0 - 2 * (2.0 + 1.0)
        assert of.next(13.9) is None
        for n, model in enumerate("bcd", 1):
            now = 11.0 + 3 * n
            assert of.next(now) == Swap(model)
            loaded(of, model, now + 2)
            opened(of, now + 2)
            if model != "d":
                assert of.next(now + 2.9) is None

    def test_a_load_that_was_never_measured_is_taken_to_last_as_long_as_the_longest(self):
        of = scheduler(1)
        of.add(ticket(0, "a", since=0.0))
        assert of.next(0) == Swap("a")
        of.models(frozenset("a"), frozenset())
        for n, model in enumerate("bc", 1):
            of.add(ticket(n, model, since=0.0))
        opened(of, 0)
        assert of.wake_at(0) == 20 - UNMEASURED_LOAD - 1
        of.swap_takes("a", 7)
        assert of.wake_at(0) == 20 - 7 - 1

    def test_towards_the_deadline_it_opens_only_what_ends_in_time(self):
        of = scheduler(4)
        for n in range(100):
            of.add(ticket(n, since=0.0))
        start(of)
        of.add(ticket(100, "b", since=0.0))
        now = 0.0
        while (answer := of.next(now)) != Swap("b"):
            if answer is None:  # all places are taken, or the deadline is near: a second later one job ends
                now += 1.0
                of.close(min(of.open))
        assert 19.0 <= now <= 20.0
        assert not of.parked

    def test_it_leaves_after_max_run_jobs_as_soon_as_they_have_ended(self):
        of = scheduler(2, max_run=4)
        for n in range(9):
            of.add(ticket(n))
        start(of)
        of.add(ticket(99, "b", since=0.0))
        assert opened(of, 0) == ["job-0", "job-1"]
        for n in (0, 1):
            of.close((f"job-{n}", "live"))
        assert opened(of, 1) == ["job-2", "job-3"]
        of.close(("job-2", "live"))
        assert of.next(2) is None
        of.close(("job-3", "live"))
        assert of.next(2) == Swap("b")

    def test_max_run_is_nothing_to_a_model_that_is_alone(self):
        of = scheduler(1, max_run=3)
        for n in range(9):
            of.add(ticket(n))
        start(of)
        assert len(one_by_one(of)) == 9

    def test_an_interactive_job_of_another_model_waits_for_the_deadline(self):
        of = scheduler(2)
        of.add(ticket(0, lane=Lane.BATCH))
        start(of)
        opened(of, 0)
        of.add(ticket(1, "b", since=1.0))
        assert of.next(20.9) is None
        assert of.next(21) == Swap("b")

    def test_it_lingers_while_jobs_of_the_focus_are_in_the_backlog(self):
        of = scheduler()
        of.add(ticket(0))
        start(of)
        one_by_one(of)
        of.add(ticket(1, "b", since=5.0))
        assert of.next(5, {"a"}) is None
        assert of.wake_at(5) == 6.0
        of.add(ticket(2))
        assert opened(of, 5.5, "a") == ["job-2"]
        of.close(("job-2", "live"))
        assert of.next(7, {"a"}) is None
        assert of.next(7.9, {"a"}) is None
        assert of.next(8.0, {"a"}) == Swap("b")

    def test_it_does_not_linger_past_a_deadline(self):
        of = scheduler(linger=60)
        of.add(ticket(0))
        start(of)
        one_by_one(of)
        of.add(ticket(1, "b", since=5.0))
        assert of.next(5, {"a"}) is None
        assert of.wake_at(5) == 25.0
        assert of.next(25, {"a"}) == Swap("b")

    def test_without_a_backlog_it_goes_at_once(self):
        of = scheduler()
        of.add(ticket(0))
        start(of)
        one_by_one(of)
        of.add(ticket(1, "b"))
        assert of.next(1, {"b"}) == Swap("b")

    def test_the_next_model_is_the_one_whose_wait_began_first(self):
        of = scheduler()
        assert of.next_model is None
        of.add(ticket(0))
        start(of)
        opened(of, 0)
        assert of.next_model is None
        of.add(ticket(5, "b"))
        of.add(ticket(4, "c"))
        assert of.next_model == "c"

    def test_a_visit_whose_load_fails_does_not_hold_up_the_others(self):
        of = scheduler(1)
        for n in range(100):
            of.add(ticket(n, since=0.0))
        of.add(ticket(100, "b", since=0.0))
        assert of.next(0) == Swap("a")
        now, answer = 0.0, None
        while answer != Swap("b"):
            now += 1.0
            assert now < 30
            answer = of.next(now)
            if isinstance(answer, Ticket):
                of.close(answer.id)
                of.models(frozenset(), frozenset({"a"}))


class TestMemory:
    def test_models_that_are_loaded_together_share_the_places_by_urgency_alone(self):
        of = scheduler(4)
        for n in range(4):
            of.add(ticket(n, "ab"[n % 2]))
        start(of)
        of.models(frozenset("ab"), frozenset())
        assert opened(of, 0) == ["job-0", "job-1", "job-2", "job-3"]

    def test_a_model_that_fits_is_loaded_when_its_job_is_next_and_parks_nothing(self):
        of = scheduler(4)
        of.add(ticket(0))
        start(of)
        of.models(frozenset("a"), frozenset("b"))
        opened(of, 0)
        of.add(ticket(1, "b"))
        assert of.next(1) == Swap("b")
        assert opened(of, 1) == ["job-1"]
        assert len(of.open) == 2
        assert not of.parked
        of.models(frozenset("ab"), frozenset())
        assert len(of.open) == 2

    def test_what_stayed_loaded_beside_the_focus_goes_on(self):
        of = scheduler(4)
        of.add(ticket(0))
        of.add(ticket(1, "b"))
        start(of)
        of.models(frozenset("ab"), frozenset())
        opened(of, 1)
        of.add(ticket(2, "c"))
        assert of.next(22) == Swap("c")
        assert len(of.parked) == 2
        of.models(frozenset("bc"), frozenset())
        assert of.parked == {("job-0", "live")}
        assert of.open == {("job-1", "live")}

    def test_what_is_told_before_the_focus_has_come_is_from_before_the_swap(self):
        of = scheduler(4)
        of.add(ticket(0))
        start(of)
        opened(of, 0)
        of.add(ticket(1, "b"))
        assert of.next(30) == Swap("b")
        of.models(frozenset("a"), frozenset())
        assert of.parked == {("job-0", "live")}
        assert of.focus == "b"

    def test_a_model_unloaded_when_idle_is_swapped_to_again(self):
        of = scheduler()
        of.add(ticket(0))
        start(of)
        one_by_one(of)
        of.models(frozenset(), frozenset("a"))
        assert of.focus is None
        of.add(ticket(1))
        assert of.next(99) == Swap("a")

    def test_parked_jobs_go_on_when_there_is_room_for_their_model(self):
        of = scheduler()
        of.add(ticket(0))
        start(of)
        opened(of, 0)
        of.add(ticket(1, "b"))
        assert of.next(30) == Swap("b")
        of.models(frozenset("b"), frozenset("a"))
        assert of.next(31) == Swap("a")
        assert of.open == {("job-0", "live")}


class TestSuspects:
    def test_a_suspect_waits_until_nothing_is_open_and_nothing_joins_it(self):
        of = scheduler()
        of.add(ticket(1))
        start(of)
        opened(of, 1)
        of.add(ticket(2, alone=True))
        of.add(ticket(0))
        assert of.next(1) is None
        of.close(("job-1", "live"))
        suspect = of.next(1)
        assert isinstance(suspect, Ticket) and suspect.alone
        of.add(ticket(3, "b", since=-90.0))
        assert of.next(20) is None
        assert of.wake_at(20) == 21
        of.close(suspect.id)
        assert opened(of, 1) == ["job-0"]

    def test_a_suspect_of_hours_keeps_only_the_batch_lane_waiting(self):
        of = scheduler()
        of.add(ticket(0, alone=True))
        start(of)
        opened(of, 0)
        of.add(ticket(1))
        of.add(ticket(2, lane=Lane.BATCH))
        of.add(ticket(3, alone=True))
        assert of.next(19) is None
        assert opened(of, 20) == ["job-1"]
        of.close(("job-1", "live"))
        of.close(("job-0", "live"))
        assert opened(of, 30) == ["job-3"], "a suspect joins nobody"
        of.close(("job-3", "live"))
        assert opened(of, 30) == ["job-2"]

    def test_a_suspect_waits_for_a_recording_of_hours_and_others_do_not(self):
        of = scheduler()
        of.add(ticket(0, lane=Lane.BATCH))
        start(of)
        opened(of, 0)
        of.add(ticket(1, alone=True))
        of.add(ticket(2))
        of.add(ticket(3, "b"))
        assert of.next(5) is None
        assert of.wake_at(5) == 25
        assert of.next(25) == Swap("b"), "its turn has come"
        loaded(of, "b", 25)
        assert opened(of, 26) == ["job-3"]
        of.close(("job-3", "live"))
        assert of.next(27) == Swap("a")
        loaded(of, "a", 27)
        assert of.next(27) is None, "the suspect would be beside the recording that goes on"
        of.close(("job-0", "live"))
        assert opened(of, 28) == ["job-1"]

    def test_after_a_lost_engine_the_suspects_model_is_loaded_first(self):
        of = scheduler()
        of.add(ticket(0))
        start(of)
        opened(of, 0)
        of.close(("job-0", "live"))
        of.lost()
        of.add(ticket(0, alone=True))
        of.add(ticket(1, "b", since=-50))
        start(of)
        found = of.next(1)
        assert isinstance(found, Ticket) and found.alone

    def test_parked_jobs_of_others_are_not_in_its_way(self):
        of = scheduler()
        of.add(ticket(0))
        start(of)
        opened(of, 0)
        of.add(ticket(1, "b", alone=True))
        assert of.next(1) is None
        of.remove(("job-1", "live"))
        of.add(ticket(2, "b"))
        assert of.next(40) == Swap("b")
        of.remove(("job-2", "live"))
        of.add(ticket(1, "b", alone=True))
        found = of.next(41)
        assert isinstance(found, Ticket) and found.alone


class TestBooks:
    def test_a_job_is_held_once(self):
        of = scheduler(2)
        of.add(ticket(1))
        of.add(ticket(1))
        assert of.waiting == 1
        start(of)
        opened(of, 0)
        of.add(ticket(1))
        assert of.waiting == 0

    def test_a_parked_job_is_held_too(self):
        of = scheduler(2)
        of.add(ticket(1))
        start(of)
        opened(of, 0)
        of.add(ticket(2, "b"))
        assert of.next(50) == Swap("b")
        of.add(ticket(1))
        assert of.waiting == 1

    def test_a_removed_job_is_not_opened(self):
        of = scheduler(2)
        of.add(ticket(1))
        of.add(ticket(2, alone=True))
        assert of.remove(ticket(1).id)
        assert of.remove(ticket(2).id)
        assert not of.remove(ticket(1).id)
        assert of.next(0) is None
        assert of.wake_at(0) is None

    def test_a_parked_job_may_be_closed(self):
        of = scheduler(2)
        of.add(ticket(1))
        start(of)
        opened(of, 0)
        of.add(ticket(2, "b"))
        assert of.next(50) == Swap("b")
        of.close(("job-1", "live"))
        assert not of.parked
        assert of.next_model is None

    @pytest.mark.parametrize("owners", [1, 100])
    def test_twenty_thousand_jobs_are_cheap(self, owners: int, monkeypatch: pytest.MonkeyPatch):
        """Counted in calls that compare or look at a ticket: each job costs about as much as among twenty."""

        def cost(count: int) -> float:
            looked = 0

            class Counting(Scheduler):
                def _oldest(self, lane: Lane):  # one look at each model
                    nonlocal looked
                    looked += 1
                    return super()._oldest(lane)

            class Since(float):
                def __lt__(self, other: float) -> bool:
                    nonlocal looked
                    looked += 1
                    return super().__lt__(other)

            of = Counting(8, max_wait=20, max_run=1000, linger=1)
            for n in range(count):
                id = (f"job-{n:06}", "live")
                of.add(Ticket(id, "abc"[n % 3], Lane.BATCH, f"owner-{n % owners}", Since((n * 7919) % count)))
            now = 0.0
            while of.waiting:
                answer = of.next(now)
                if isinstance(answer, Swap):
                    loaded(of, answer.model, now)
                elif answer is not None:
                    now += 0.01
                    of.close(answer.id)
            return looked / count

        assert cost(20_000) < 10 * cost(200)

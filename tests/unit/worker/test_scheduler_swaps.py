"""When a worker changes its model, and when it stays with the one that is warm."""

from processor.scheduler import UNMEASURED_LOAD, Swap, Ticket
from schemas.jobs import Lane
from tests.support.tickets import loaded, one_by_one, opened, scheduler, start, ticket


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

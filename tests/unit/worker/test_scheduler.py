"""Who is next, and that nobody is forgotten or held twice."""

import pytest

from processor.scheduler import BATCH_SHARE, Scheduler, Swap, Ticket
from schemas.jobs import Lane
from tests.support.tickets import loaded, one_by_one, opened, scheduler, start, ticket


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

"""What may not share the engine: too much for its memory, or a suspect of having killed it."""

from processor.scheduler import Swap, Ticket
from schemas.jobs import Lane
from tests.support.tickets import loaded, one_by_one, opened, scheduler, start, ticket


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

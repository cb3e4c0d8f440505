from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from processor.lanes import UNKNOWN_COST, Lanes, Oldest, Ticket, Turns
from schemas.jobs import Lane


def ticket(n: int, owner: str = "one", since: float | None = None, seconds: float = 0.0) -> Ticket:
    return Ticket((f"job-{n}", "live"), "a", Lane.BATCH, owner, float(n) if since is None else since, seconds)


def taken(turns: Turns, count: int | None = None) -> list[Ticket]:
    return [turns.take() for _ in range(len(turns) if count is None else count)]


def test_one_owners_jobs_go_oldest_first_whatever_the_order_of_arrival():
    turns = Turns()
    for n in (3, 1, 2):
        turns.add(ticket(n))
    assert [found.since for found in taken(turns)] == [1, 2, 3]


def test_ten_thousand_files_of_one_owner_do_not_hold_up_another_ones_single_file():
    turns = Turns()
    for n in range(10_000):
        turns.add(ticket(n))
    taken(turns, 100)
    turns.add(ticket(20_000, "two"))
    assert "two" in {found.owner for found in taken(turns, 2)}


def test_owners_get_equal_shares_of_audio_not_of_jobs():
    turns = Turns()
    for n in range(100):
        turns.add(ticket(n, "long", seconds=100))
        turns.add(ticket(1000 + n, "short", seconds=10))
    audio = Counter[str]()
    for found in taken(turns, 55):
        audio[found.owner] += round(found.seconds)
    assert abs(audio["long"] - audio["short"]) <= 100


def test_jobs_of_unknown_cost_go_by_turns():
    turns = Turns()
    for n in range(6):
        turns.add(ticket(n, "one" if n < 3 else "two"))
    assert [found.owner for found in taken(turns)] == ["one", "two"] * 3
    assert ticket(1).cost == UNKNOWN_COST


def test_absence_earns_nothing():
    turns = Turns()
    for n in range(40):
        turns.add(ticket(n))
    taken(turns, 20)
    for n in range(100, 120):
        turns.add(ticket(n, "late"))
    owners = [found.owner for found in taken(turns, 10)]
    assert owners.count("late") in {5, 6}


def test_who_sends_one_job_at_a_time_gets_no_more_than_who_sent_all_at_once():
    turns = Turns()
    for n in range(10):
        turns.add(ticket(n, "all at once"))
    turns.add(ticket(100, "eager", since=0.0))
    owners: list[str] = []
    for n in range(101, 109):
        owners += [found.owner for found in taken(turns, 1)]
        if owners[-1] == "eager":
            turns.add(ticket(n, "eager", since=0.0))
    assert owners.count("eager") == 4


def test_the_longest_wait_is_seen_whoever_is_next():
    lanes = Lanes()
    assert lanes.oldest == float("inf")
    lanes.add(ticket(5))
    lanes.add(ticket(3, "two"))
    assert lanes.oldest == lanes[Lane.BATCH].oldest == 3
    assert lanes[Lane.INTERACTIVE].oldest == float("inf")
    assert len(lanes) == 2


def test_what_is_taken_out_and_put_back_counts_once():
    oldest = Oldest()
    first, again = ticket(1, since=1.0), ticket(1, since=7.0)
    oldest.add(first)
    oldest.add(ticket(2, since=5.0))
    oldest.remove(first)
    oldest.add(again)
    assert oldest.head is not None and oldest.head.since == 5.0
    assert len(oldest) == 2


def test_what_is_taken_out_does_not_stay_in_memory():
    oldest = Oldest()
    oldest.add(ticket(0))
    for n in range(1, 10_000):
        oldest.add(ticket(n))
        oldest.remove(ticket(n))
    assert len(oldest._heap) < 50  # pyright: ignore[reportPrivateUsage]


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from("xyz"), st.integers(0, 9), st.sampled_from([0, 1, 30, 500])),
        st.tuples(st.just("take")),
        st.tuples(st.just("remove"), st.integers(0, 99)),
    ),
    max_size=80,
)


@given(ACTIONS)
def test_each_job_comes_out_once_and_an_owners_in_order(actions: list[tuple[object, ...]]):
    turns, waiting = Turns(), list[Ticket]()
    for n, action in enumerate(actions):
        match action:
            case ("add", str(owner), int(since), int(seconds)):
                waiting.append(ticket(n, owner, since, seconds))
                turns.add(waiting[-1])
            case ("take",) if waiting:
                found = turns.take()
                waiting.remove(found)
                assert all(found.since <= other.since for other in waiting if other.owner == found.owner)
            case ("remove", int(index)) if waiting:
                turns.remove(waiting.pop(index % len(waiting)))
            case _:
                pass
        assert len(turns) == len(waiting)
        assert turns.oldest == min((other.since for other in waiting), default=float("inf"))
    assert sorted(found.id for found in taken(turns)) == sorted(other.id for other in waiting)


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.integers(1, 100)), min_size=30, max_size=120))
def test_no_owner_who_waits_gets_less_than_another_by_more_than_two_jobs(jobs: list[tuple[str, int]]):
    """The bound of start-time fair queueing: while two owners wait, their shares differ by one job of each at most."""
    turns = Turns()
    for n, (owner, seconds) in enumerate(jobs):
        turns.add(ticket(n, owner, seconds=seconds))
    left, got = Counter(owner for owner, _ in jobs), Counter[str]()
    while all(left.values()) and turns:
        found = turns.take()
        left[found.owner] -= 1
        got[found.owner] += round(found.seconds)
        assert max(got[owner] for owner in left) - min(got[owner] for owner in left) <= 200

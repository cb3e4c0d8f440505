from hypothesis import given
from hypothesis import strategies as st

from processor.acks import Acks


def test_what_ends_out_of_order_is_acknowledged_in_order():
    acks = Acks()
    for offset in (4, 5, 7, 8):  # 6 is a transaction's marker: it never comes
        acks.track(offset)
    assert acks.done(5) == []
    assert acks.done(8) == []
    assert acks.done(4) == [4, 5]
    assert acks.done(7) == [7, 8]
    assert len(acks) == 0


def test_what_was_not_received_or_is_done_already_is_no_error():
    acks = Acks()
    acks.track(1)
    assert acks.done(9) == []
    assert acks.done(1) == [1]
    assert acks.done(1) == []


@given(st.permutations(range(12)))
def test_nothing_is_acknowledged_before_all_that_came_before_it_is_done(order: list[int]):
    acks, done, acknowledged = Acks(), set[int](), list[int]()
    for offset in range(12):
        acks.track(offset)
    for offset in order:
        done.add(offset)
        acknowledged += acks.done(offset)
        assert acknowledged == list(range(len(acknowledged)))
        assert set(acknowledged) <= done
        assert len(acknowledged) == 12 or len(acknowledged) not in done
    assert len(acknowledged) == 12


def test_the_frontier_passes_what_never_came():
    acks = Acks()
    assert acks.frontier() == 0
    for offset in (4, 5, 7, 8):
        acks.track(offset)
    assert acks.frontier() == 4
    assert acks.frontier({4}) == 5
    assert acks.frontier({4, 5, 7, 8}) == 9
    acks.done(4)
    acks.done(5)
    assert acks.frontier() == 7
    assert acks.frontier({7}) == 8
    assert (len(acks), acks.span) == (2, 2)


@given(
    received=st.sets(st.integers(0, 40)),
    done=st.sets(st.integers(0, 40)),
    also=st.sets(st.integers(0, 40)),
)
def test_the_frontier_is_the_first_that_is_not_done(received: set[int], done: set[int], also: set[int]):
    acks = Acks()
    for offset in sorted(received):
        acks.track(offset)
    for offset in done:
        acks.done(offset)
    left = received - done - also
    assert acks.frontier(also) == (min(left) if left else max(received, default=-1) + 1)
    assert len(acks) == len(received - done)

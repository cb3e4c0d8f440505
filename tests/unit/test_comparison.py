"""What differs between two answers to "who spoke when"."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.results import Segment
from turnstream.comparison import MOVED, Comparison, Kind, changes, compare


def turns(*said: tuple[str, float, float]) -> list[Segment]:
    return [Segment(speaker=speaker, start=start, end=end) for speaker, start, end in said]


def kinds(found: Comparison) -> list[str]:
    return [change.kind for change in found.changes]


BEFORE = turns(("A", 0, 4), ("B", 4, 6), ("A", 6, 10))


def test_the_same_under_other_names_is_the_same():
    found = compare(BEFORE, turns(("x", 0, 4), ("y", 4, 6), ("x", 6, 10)), 10)
    assert (found.der, found.changes) == (0.0, [])
    assert [(pair.before, pair.after, pair.before_time) for pair in found.speakers] == [("A", "x", 8), ("B", "y", 2)]


def test_errors_are_told_apart_and_are_parts_of_the_first_ones_speech():
    after = turns(("A", 0, 3), ("A", 4, 6), ("A", 6, 10), ("C", 11, 12))
    found = compare(BEFORE, after, 12)
    assert found.errors.model_dump() == {"speech": 10, "missed": 1, "false_alarm": 1, "confusion": 2}
    assert found.der == 0.4
    assert kinds(found) == [Kind.MOVED, Kind.GIVEN, Kind.ADDED]
    moved, given_, added = found.changes
    assert (moved.before.end, moved.after.end) == (4, 3)
    assert (given_.before.speaker, given_.after.speaker) == ("B", "A")
    assert (added.before, added.after.speaker) == (None, "+C")
    assert (found.turns_before, found.turns_after) == (3, 4)
    assert [(pair.before, pair.after) for pair in found.speakers] == [("A", "A"), ("B", None), (None, "C")]


def test_a_second_in_which_two_speak_is_two():
    found = compare(turns(("A", 0, 10), ("B", 0, 10)), turns(("A", 0, 10)), 10)
    assert (found.errors.speech, found.errors.missed, found.der) == (20, 10, 0.5)
    assert kinds(found) == [Kind.REMOVED]


def test_near_the_ends_of_turns_nothing_counts_within_the_collar():
    after = turns(("A", 0.2, 4.2), ("B", 4.2, 6), ("A", 6, 10))
    assert compare(BEFORE, after, 10).der > 0
    assert compare(BEFORE, after, 10, collar=0.25).der == 0


def test_turns_in_two_are_one_that_moved_and_one_that_is_new():
    found = compare(turns(("A", 0, 10)), turns(("A", 0, 6), ("A", 6.5, 10)), 10)
    assert sorted(kinds(found)) == [Kind.ADDED, Kind.MOVED]


def test_little_is_not_moved():
    near = turns(("A", 0 + MOVED / 2, 4), ("B", 4, 6 + MOVED / 2), ("A", 6, 10))
    assert kinds(compare(BEFORE, near, 10)) == []


def test_silence():
    assert compare([], [], 10).der == 0
    nobody = compare([], turns(("A", 1, 2)), 10)
    assert (nobody.der, nobody.errors.false_alarm, kinds(nobody)) == (None, 1, [Kind.ADDED])
    assert compare(turns(("A", 1, 2)), [], 10).der == 1


starts = st.lists(st.tuples(st.sampled_from("AB"), st.integers(0, 40), st.integers(1, 9)), max_size=8)


@given(starts, starts)
def test_every_turn_is_the_same_or_told_once(first, second):
    before, after = ([*turns(*((who, at, at + long) for who, at, long in each))] for each in (first, second))
    found = list(changes(before, after))
    told = [id(change.before) for change in found if change.before is not None]
    new = [id(change.after) for change in found if change.after is not None]
    assert len(set(told)) == len(told) and len(set(new)) == len(new)
    assert len(before) - len(told) == len(after) - len(new)
    for change in found:
        assert change.kind is not Kind.MOVED or change.before.speaker == change.after.speaker
        assert change.kind is not Kind.GIVEN or change.before.speaker != change.after.speaker
    assert not list(changes(before, before))

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.finished import METADATA_LIMIT, SPAN, Finished

OFFSETS = st.sets(st.integers(0, SPAN - 1), max_size=200)


@given(frontier=st.integers(0, 2**62), beyond=OFFSETS)
def test_what_is_written_reads_back(frontier: int, beyond: set[int]):
    finished = Finished(frontier).including([frontier + offset for offset in beyond])
    assert finished.fits
    assert len(finished.metadata) <= METADATA_LIMIT
    assert Finished.read(frontier, finished.metadata) == finished


def test_a_full_bitmap_fits_to_the_character():
    full = Finished(7).including(range(7, 7 + SPAN))
    assert full.fits
    assert len(full.metadata) == METADATA_LIMIT
    assert not full.including([7 + SPAN]).fits


@given(frontier=st.integers(0, 50), offsets=st.sets(st.integers(0, 100)), ahead=st.integers(0, 100))
def test_it_holds_what_it_was_told_and_all_before_its_frontier(frontier: int, offsets: set[int], ahead: int):
    finished = Finished(frontier).including(offsets)
    assert {offset for offset in range(101) if offset in finished} == offsets | set(range(frontier))
    moved = finished.moved(ahead)
    assert moved.frontier == max(frontier, ahead)
    assert {offset for offset in range(101) if offset in moved} == offsets | set(range(moved.frontier))


@pytest.mark.parametrize(
    "text", ["", "offsets of mine", "{}", b64encode(b"abcdefgh").decode(), "é", "AAAA", "A" * 5000]
)
def test_a_text_of_somebody_else_says_nothing(text: str):
    assert Finished.read(12, text) == Finished(12)


@given(st.data())
def test_a_damaged_text_says_nothing(data: st.DataObject):
    text = Finished(100).including(data.draw(st.sets(st.integers(100, 400), min_size=1))).metadata
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("ABCabc012+/=").filter(lambda character: character != text[at]))
    damaged = text[:at] + other + text[at + 1 :]
    read = Finished.read(100, damaged)
    assert read in (Finished(100), Finished.read(100, text))  # base64 has spare bits that say nothing
    assert Finished.read(101, text) == Finished(101)

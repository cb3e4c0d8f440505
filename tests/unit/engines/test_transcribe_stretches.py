"""Where a recording is cut: what holds for any pauses, and where the sample is."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.engines.transcribe import stretches as cutting
from processor.engines.transcribe.stretches import (
    LEAST_SILENCE,
    LIMIT,
    LONG_PAUSE,
    PAD,
    WINDOW,
    Span,
    packed,
    padded,
    silences,
    speech,
    stretches,
)
from schemas.errors import JobCancelled
from tests.support.recordings import SAMPLE_RATE, sample_waveform


@st.composite
def spans(draw: st.DrawFn) -> tuple[list[Span], int]:
    """Speech as the detector may hear it, and the length of the recording."""
    pause, length = st.integers(0, 6 * SAMPLE_RATE), st.one_of(st.integers(1, LIMIT), st.just(LIMIT))
    found: list[Span] = []
    end = 0
    for silent, spoken in draw(st.lists(st.tuples(pause, length), max_size=40)):
        found.append(Span(end + silent, end + silent + spoken))
        end = found[-1].end
    return found, end + draw(pause)


@given(spans())
def test_all_speech_is_in_one_stretch_and_none_is_longer_than_a_window(recording: tuple[list[Span], int]):
    found, length = recording
    joined = packed(found)
    assert all(any(low <= start and end <= high for low, high in joined) for start, end in found)
    assert all(end - start <= LIMIT for start, end in joined)
    heard = padded(joined, length)
    assert all(0 <= start < end <= length and end - start <= WINDOW for start, end in heard)
    assert all(left.end <= right.start for left, right in pairwise(heard))
    for (low, high), (start, end) in zip(joined, heard, strict=True):
        assert max(low - PAD, 0) <= start <= low
        assert high <= end


@given(spans())
def test_no_stretch_goes_on_beyond_a_long_pause(recording: tuple[list[Span], int]):
    found, _ = recording
    pauses = [(left.end, right.start) for left, right in pairwise(found) if right.start - left.end >= LONG_PAUSE]
    assert not any(low < start and end < high for start, end in pauses for low, high in packed(found))


@given(spans())
def test_no_two_stretches_would_fit_in_a_third_of_one(recording: tuple[list[Span], int]):
    """Each costs a pass: only where a pause is long is one left short."""
    found, _ = recording
    for left, right in pairwise(packed(found)):
        assert right.start - left.end >= LONG_PAUSE or right.end - left.start > LIMIT * 2 // 3


@given(spans())
def test_with_silences_the_whole_recording_is_heard(recording: tuple[list[Span], int]):
    found, length = recording
    heard = padded(packed(found), length)
    everything = sorted([*heard, *silences(heard, length)])
    assert all(end - start <= WINDOW for start, end in everything)
    gaps = [right.start - left.end for left, right in pairwise([Span(0, 0), *everything, Span(length, length)])]
    assert all(0 <= gap < LEAST_SILENCE for gap in gaps)


def test_the_cut_is_at_the_longest_pause_of_the_last_third():
    words = [Span(start * SAMPLE_RATE, start * SAMPLE_RATE + SAMPLE_RATE // 2) for start in range(40)]
    del words[22]
    assert packed(words)[0] == Span(0, words[21].end)


def always(_: object = None) -> bool:
    return True


def never() -> bool:
    return False


def test_the_sample_is_heard_from_its_first_word_on():
    [stretch] = stretches(sample_waveform(), vad=True, cancelled=never)
    assert 6 < stretch.start / SAMPLE_RATE < 7
    assert stretch.end == 30 * SAMPLE_RATE


@pytest.mark.parametrize("vad", [True, False])
@pytest.mark.parametrize("samples", [0, 1, 160, 1600])
def test_what_is_too_short_to_hold_a_word_is_not_heard(samples: int, vad: bool):
    loudest = sample_waveform()[7 * SAMPLE_RATE :][:samples]
    assert stretches(loudest, vad, never) == []


def test_silence_and_noise_are_heard_only_where_asked_for():
    noise = np.random.default_rng(0).normal(0, 0.1, 70 * SAMPLE_RATE).astype(np.float32)
    for samples in (np.zeros_like(noise), noise):
        assert stretches(samples, vad=True, cancelled=never) == []
        everything = stretches(samples, vad=False, cancelled=never)
        assert [end - start for start, end in everything] == [WINDOW, WINDOW, 10 * SAMPLE_RATE]


def test_speech_is_found_across_the_borders_of_blocks(monkeypatch: pytest.MonkeyPatch):
    samples = np.tile(sample_waveform(), 3)
    whole = list(speech(samples))
    monkeypatch.setattr(cutting, "BLOCK", 41 * SAMPLE_RATE)
    blocks = list(speech(samples))
    assert all(left.end <= right.start for left, right in pairwise(blocks))
    total, found = (sum(end - start for start, end in spans) for spans in (whole, blocks))
    assert abs(found - total) < total / 50


def test_who_cancels_does_not_wait_for_all_blocks():
    with pytest.raises(JobCancelled):
        list(speech(np.zeros(SAMPLE_RATE, np.float32), always))

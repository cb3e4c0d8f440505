"""Times of words, whatever the networks say."""

import math
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from processor.engines.transcribe.passages import Passage, spoken, text
from schemas.results import SpokenSegment
from tests.support.whisper import Heard

seconds = st.floats(-5, 40) | st.just(math.nan) | st.just(math.inf)
heard_words = st.builds(
    Heard, seconds, seconds, word=st.just(" word"), probability=st.floats(-1, 2) | st.just(math.nan)
)
heard = st.builds(
    Heard, seconds, seconds, text=st.sampled_from([" Some words.", "漢字"]), words=st.none() | st.lists(heard_words)
)


@given(st.lists(heard), st.floats(0, 36_000), st.floats(0.001, 30), st.floats(0, 36_030))
@example([Heard(0.0, 5.0, words=[Heard(0.0, 5.0, word="a")])], 0.0, 1.0006, 0.0)
def test_times_go_on_and_stay_within_the_stretch(segments: list[Heard], start: float, length: float, before: float):
    end = start + length
    found = [
        SpokenSegment.model_validate(each)
        for each in spoken(Passage(segments, "en", 1.0), start, end, min(before, end))
    ]
    times = [time for segment in found for word in segment.words or [segment] for time in (word.start, word.end)]
    assert times == sorted(times)
    assert all(time <= end for time in times)
    assert all(round(time, 3) == time for time in times)
    for segment in found:
        assert segment.start <= segment.end
        if segment.words:
            assert (segment.start, segment.end) == (segment.words[0].start, segment.words[-1].end)
    assert all(left.end <= right.start for left, right in pairwise(found))


def test_times_are_those_of_the_recording():
    words = [Heard(0.25, 0.5, word=" Good"), Heard(0.5, 1.0004, word=" night.", probability=0.98765)]
    [segment] = spoken(Passage([Heard(0.0, 1.5, text=" Good night.", words=words)], "en", 1.0), 60.0, 90.0, 10.0)
    assert segment == {
        "start": 60.25,
        "end": 61.0,
        "text": "Good night.",
        "words": [
            {"word": " Good", "start": 60.25, "end": 60.5, "probability": 0.5},
            {"word": " night.", "start": 60.5, "end": 61.0, "probability": 0.9877},
        ],
    }


def test_text_keeps_the_spaces_that_a_language_has():
    english = Passage([Heard(0, 1, text=" Good night."), Heard(1, 2, text=" Sleep well.")], "en", 1.0)
    chinese = Passage([Heard(0, 1, text="晚安"), Heard(1, 2, text="好梦")], "zh", 1.0)
    assert text(english) == " Good night. Sleep well."
    assert text(chinese) == "晚安好梦"

"""What holds for every transcript, and the index of turns against the plain double loop."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from processor.engines.transcript import TOLERANCE, combine, with_speakers
from processor.engines.turn_index import TurnIndex
from schemas.results import TranscriptResult
from tests.support.results import JOB_ID, segments, stages, turn, turns, unhurried

TIMES = st.integers(0, 40)
TURNS = st.lists(st.tuples(TIMES, TIMES, st.sampled_from("ABC")), max_size=12)
SPAN = st.tuples(TIMES, st.integers(1, 15)).map(lambda span: (span[0], span[0] + span[1]))


def plain_shares(turns, start, end):
    """Instant by instant."""
    return Counter(
        who for at in range(start, end) for who in {speaker for first, last, speaker in turns if first <= at < last}
    )


def plain_nearest(turns, start, end, within):
    distances = [(max(first - end, start - last), who) for first, last, who in turns if first < last]
    least = min((distance for distance, _ in distances), default=None)
    return {who for distance, who in distances if distance == least and distance <= within}


@unhurried
@given(TURNS, SPAN)
def test_shares_are_those_of_the_plain_loop(turns, span):
    assert TurnIndex(turns).shares(*span) == plain_shares(turns, *span)


@unhurried
@given(TURNS, SPAN, st.integers(0, 10))
def test_the_nearest_are_those_of_the_plain_loop(turns, span, within):
    index = TurnIndex(turns)
    if not index.shares(*span):
        assert index.nearest(*span, within) == plain_nearest(turns, *span, within)


@unhurried
@given(segments(), turns(), turns())
def test_every_word_is_there_once_in_order_and_as_it_was(spoken, turns, exclusive):
    parts = with_speakers(spoken, turns, exclusive)
    assert [
        {name: value for name, value in word.items() if name != "speaker"} for part in parts for word in part["words"]
    ] == [word for segment in spoken for word in segment["words"]]


@unhurried
@given(segments(), turns(), turns())
def test_segments_have_one_speaker_and_lie_within_what_they_were(spoken, turns, exclusive):
    parts = iter(with_speakers(spoken, turns, exclusive))
    for segment in spoken:
        left, before = len(segment["words"]), None
        while left > 0 or before is None:
            part = next(parts)
            assert {word["speaker"] for word in part["words"]} <= {part["speaker"]}
            assert before is None or part["speaker"] != before["speaker"], "split where nothing changed"
            assert segment["start"] <= part["start"] <= part["end"] <= segment["end"]
            assert all(part["start"] <= word["start"] and word["end"] <= part["end"] for word in part["words"])
            left, before = left - len(part["words"]), part
    assert next(parts, None) is None


@unhurried
@given(segments(), turns(), turns())
def test_who_is_named_speaks_there_or_near(spoken, turns, exclusive):
    """And nobody who covers more of the word was passed over."""
    for word in (word for part in with_speakers(spoken, turns, exclusive) for word in part["words"]):
        start, end = round(word["start"] * 1000), max(round(word["end"] * 1000), round(word["start"] * 1000) + 1)
        times = [(round(turn["start"] * 1000), round(turn["end"] * 1000), turn["speaker"]) for turn in turns]
        covered = plain_shares(times, start, end)
        near = plain_nearest(times, start, end, round(TOLERANCE * 1000))
        if covered:
            assert covered[word["speaker"]] == max(covered.values())
        elif word["end"] > word["start"]:  # for a word that takes no time, a whole millisecond here would be too much
            assert word["speaker"] in (near or {None})


@unhurried
@given(segments(), turns())
def test_a_transcript_outlives_the_wire(spoken, turns):
    """Nulls that say nothing are left out on the way; that nobody spoke is not."""
    result = TranscriptResult(job_id=JOB_ID, run="live", **combine(stages(spoken, turns)))
    assert TranscriptResult.model_validate_json(result.model_dump_json(exclude_none=True)) == result


@unhurried
@given(segments())
def test_one_speaker_all_along_says_everything(spoken):
    parts = with_speakers(spoken, [turn("A", 0, 1_000_000)], [])
    assert [(part["speaker"], part["text"]) for part in parts] == [("A", segment["text"]) for segment in spoken]

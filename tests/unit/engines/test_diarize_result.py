"""What a result says of speakers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.engines.diarize.clustering import Turn, Turns
from processor.engines.diarize.result import found, overlap_share


def turns(*spans: tuple[str, float, float], speakers: list[str] | None = None) -> Turns:
    said = [Turn(*span, confidence=0.123456) for span in spans]
    return Turns(said, said[:1], speakers or sorted({turn.speaker for turn in said}))


def test_shares_and_overlap():
    fields = found([turns(("A", 0, 4), ("B", 2, 3), ("B", 8, 9))], embeddings=False)
    assert fields["speaker_stats"] == [
        {"speaker": "A", "speaking_time": 4, "share": pytest.approx(2 / 3), "channel": None, "embedding": None},
        {"speaker": "B", "speaking_time": 2, "share": pytest.approx(1 / 3), "channel": None, "embedding": None},
    ]
    assert fields["overlap_share"] == 0.2
    assert (fields["num_speakers"], fields["speakers"]) == (2, ["A", "B"])
    assert fields["segments"][1] == {"speaker": "B", "start": 2, "end": 3, "confidence": 0.1235, "channel": None}
    assert len(fields["exclusive_segments"]) == 1


def test_nobody_speaks():
    fields = found([Turns([], [], [])], embeddings=True)
    assert fields == {
        "segments": [],
        "exclusive_segments": [],
        "num_speakers": 0,
        "speakers": [],
        "speaker_stats": [],
        "overlap_share": 0.0,
    }


def test_a_speaker_whose_turns_were_all_dropped_has_no_share():
    fields = found([turns(speakers=["A"])], embeddings=False)
    assert [(each["speaking_time"], each["share"]) for each in fields["speaker_stats"]] == [(0, 0)]


def test_a_voice_print_that_is_none_is_left_out():
    said = turns(("A", 0, 1), ("B", 1, 2))
    prints = np.array([[1, 2], [np.nan, np.nan]], np.float32)
    fields = found([Turns(said.turns, said.exclusive, said.speakers, prints)], embeddings=True)
    assert [each["embedding"] for each in fields["speaker_stats"]] == [[1.0, 2.0], None]


def test_turns_of_channels_are_sorted_and_named():
    fields = found([turns(("A", 1, 2), ("A", 4, 5)), turns(("A", 0, 1.5))], embeddings=False)
    assert [(each["speaker"], each["start"], each["channel"]) for each in fields["segments"]] == [
        ("CHANNEL_1_A", 0, 1),
        ("CHANNEL_0_A", 1, 0),
        ("CHANNEL_0_A", 4, 0),
    ]
    assert [each["channel"] for each in fields["speaker_stats"]] == [0, 1]


spans = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10)).map(lambda span: (span[0], sum(span))), max_size=8)


@given(spans)
def test_overlap_is_counted_moment_by_moment(spans: list[tuple[int, int]]):
    speaking = [sum(start <= moment < end for start, end in spans) for moment in range(50)]
    anybody, several = sum(count > 0 for count in speaking), sum(count > 1 for count in speaking)
    assert overlap_share(spans) == pytest.approx(several / anybody if anybody else 0, abs=1e-6)

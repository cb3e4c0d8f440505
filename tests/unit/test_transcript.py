"""Who said what, rule by rule, as docs/transcripts.md states them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from processor.engines.transcript import TOLERANCE, combine, with_speakers
from processor.engines.turn_index import TurnIndex
from schemas.results import TranscriptResult
from tests.support.results import JOB_ID, MODEL, segment, stages, turn, word

PAGE = Path(__file__).parents[2] / "docs" / "transcripts.md"


def whose(words, turns, exclusive=()):
    """The speakers of words, in their order."""
    parts = with_speakers([segment(*words)], turns, exclusive)
    return [word["speaker"] for part in parts for word in part["words"]]


def one(start, end, turns, exclusive=()):
    return whose([word("x", start, end)], turns, exclusive)[0]


def test_a_word_belongs_to_whose_turns_cover_most_of_it():
    turns = [turn("A", 0, 1), turn("B", 1, 3)]
    assert [one(0.2, 0.8, turns), one(0.6, 1.3, turns), one(0.8, 1.5, turns)] == ["A", "A", "B"]


def test_all_turns_of_a_speaker_within_a_word_count_together():
    assert one(0, 1, [turn("A", 0, 0.3), turn("B", 0.3, 0.7), turn("A", 0.7, 1)]) == "A"


def test_turns_of_one_speaker_that_overlap_each_other_count_once():
    assert one(0, 1, [turn("A", 0, 0.4), turn("A", 0.1, 0.4), turn("B", 0.4, 1)]) == "B"


def test_a_long_turn_under_many_short_ones_is_found():
    turns = [turn("LONG", 0, 1000), *(turn("SHORT", at, at + 0.1) for at in range(1000))]
    assert one(900.2, 900.8, turns) == "LONG"
    assert one(900.0, 900.1, turns, [turn("SHORT", 900, 900.1)]) == "SHORT"


def test_in_overlapped_speech_the_exclusive_turns_decide():
    turns = [turn("A", 0, 2), turn("B", 0, 2)]
    assert one(0.5, 1, turns, [turn("B", 0, 2)]) == "B"
    assert one(0.5, 1, turns, [turn("A", 0, 0.8), turn("B", 0.8, 2)]) == "A"
    assert one(0.5, 1, turns, [turn("C", 0, 2)]) == "A", "an exclusive turn of somebody else is no claim"


def test_without_exclusive_turns_the_word_before_decides_then_the_word_after_then_the_name():
    turns = [turn("A", 0, 2), turn("B", 1, 3)]
    assert whose([word("a", 0.2, 0.8), word("x", 1.2, 1.8)], turns) == ["A", "A"]
    assert whose([word("x", 1.2, 1.8), word("b", 2.2, 2.8)], turns) == ["B", "B"]
    assert whose([word("x", 1.2, 1.4), word("y", 1.4, 1.8), word("b", 2.2, 2.8)], turns) == ["B", "B", "B"]
    assert whose([word("x", 1.2, 1.8)], turns) == ["A"]


def test_the_neighbour_may_be_in_another_segment():
    turns = [turn("A", 0, 2), turn("B", 1, 3)]
    parts = with_speakers([segment(word("x", 1.2, 1.8)), segment(word("b", 2.2, 2.8))], turns, [])
    assert [part["speaker"] for part in parts] == ["B", "B"]


def test_a_neighbour_without_a_claim_decides_nothing():
    turns = [turn("C", 0, 0.9), turn("A", 1, 2), turn("B", 1, 2)]
    assert whose([word("c", 0, 0.9), word("x", 1.2, 1.8)], turns) == ["C", "A"]


def test_a_word_between_turns_takes_the_nearest_one_within_the_tolerance():
    turns = [turn("A", 0, 1), turn("B", 3, 4)]
    assert one(1.2, 1.6, turns) == "A"
    assert one(2.5, 2.7, turns) == "B"
    assert one(1 + TOLERANCE, 2, turns) == "A", "at the tolerance"
    assert one(1.001 + TOLERANCE, 2, turns) is None, "beyond it"
    assert one(4.4, 5, turns) == "B", "after the last turn"
    assert one(0.1, 0.3, [turn("A", 0.5, 1)]) == "A", "before the first one"


def test_half_way_between_two_turns_the_word_before_decides():
    turns = [turn("A", 0, 1), turn("B", 2, 3)]
    assert whose([word("b", 2.1, 2.5), word("x", 1.25, 1.75)], turns) == ["B", "B"]
    assert whose([word("a", 0.1, 0.5), word("x", 1.25, 1.75)], turns) == ["A", "A"]


def test_nobody_speaks_where_there_are_no_turns():
    assert one(0, 1, []) is None


def test_a_word_that_takes_no_time_lies_in_the_turn_it_starts_in():
    turns = [turn("A", 0, 1), turn("B", 1, 2)]
    assert [one(0.5, 0.5, turns), one(1, 1, turns), one(2, 2, turns)] == ["A", "B", "B"]


def test_a_turn_that_takes_no_time_is_none():
    assert one(0, 1, [turn("A", 0.5, 0.5)]) is None


def test_a_single_word_between_two_runs_of_another_speaker_stays_with_its_own():
    turns = [turn("A", 0, 1), turn("B", 1, 1.3), turn("A", 1.3, 3)]
    words = [word("so", 0.1, 0.9), word(" no", 1.0, 1.3), word(" then", 1.4, 1.9)]
    assert whose(words, turns) == ["A", "B", "A"]


def test_a_segment_is_split_where_the_speaker_changes():
    words = [word(" Ready?", 0.2, 0.8), word(" Yes,", 1.1, 1.4), word(" go.", 1.5, 1.9)]
    given = segment(*words, start=0.0, end=2.5)
    first, second = with_speakers([given], [turn("A", 0, 1), turn("B", 1, 2)], [])
    assert (first["speaker"], first["start"], first["end"], first["text"]) == ("A", 0.2, 0.8, "Ready?")
    assert (second["speaker"], second["start"], second["end"], second["text"]) == ("B", 1.1, 1.9, "Yes, go.")


def test_a_segment_of_one_speaker_stays_as_it_was():
    given = segment(word(" Well", 0.2, 0.5), word(" then.", 0.5, 0.9), start=0.1, end=1.0, text="Well then.")
    (part,) = with_speakers([given], [turn("A", 0, 1)], [])
    assert {name: part[name] for name in ("start", "end", "text")} == {"start": 0.1, "end": 1.0, "text": "Well then."}


def test_languages_without_spaces_get_none():
    words = [word("好", 0.1, 0.4), word("的", 0.4, 0.8), word("谢", 1.1, 1.4), word("谢", 1.4, 1.8)]
    parts = with_speakers([segment(*words)], [turn("A", 0, 1), turn("B", 1, 2)], [])
    assert [part["text"] for part in parts] == ["好的", "谢谢"]


def test_a_segment_without_words_keeps_its_text_and_takes_the_speaker_by_its_time():
    given = [segment(text=" Hm. ", start=1.1, end=1.9), {"text": "Old.", "start": 0.0, "end": 0.5}]
    said, old = with_speakers(given, [turn("A", 0, 1), turn("B", 1, 2)], [])
    assert said == {"speaker": "B", "start": 1.1, "end": 1.9, "text": " Hm. ", "words": []}
    assert old["speaker"] == "A"


def test_what_is_known_of_the_speakers_goes_along_with_the_channels_of_their_turns():
    turns = [turn(f"CHANNEL_{channel}_SPEAKER_00", 0, 1) | {"channel": channel} for channel in (0, 1)]
    known = [{"speaker": each["speaker"], "speaking_time": 1.0, "share": 0.5} for each in turns]
    given = stages([segment(word(" Hi.", 0.1, 0.4))], turns)
    given["diarize"] |= {"speaker_stats": known, "overlap_share": 1.0}
    result = TranscriptResult(job_id=JOB_ID, run="live", **combine(given))
    assert [each.channel for each in result.turns] == [0, 1]
    assert [each.model_dump(exclude_none=True) for each in result.speaker_stats] == known
    assert result.overlap_share == 1
    assert result.segments[0].speaker == "CHANNEL_0_SPEAKER_00"


def test_both_stages_make_one_result():
    given = stages([segment(word(" Hi.", 0.1, 0.4))], [turn("A", 0, 1)])
    given["diarize"] |= {"warnings": ["one", "two"], "model": MODEL | {"name": "turns"}}
    given["transcribe"] |= {"warnings": ["two", "three"]}
    result = TranscriptResult(job_id=JOB_ID, run="live", **combine(given))
    assert result.warnings == ["one", "two", "three"]
    assert result.performance == 0.75
    assert (result.num_speakers, result.speakers) == (1, ["A"])
    assert [turn.speaker for turn in result.turns] == ["A"]
    assert {stage: model.name for stage, model in result.models.items()} == {"diarize": "turns", "transcribe": "m"}
    assert {stage: type(timings).__name__ for stage, timings in result.timings.items()} == {
        "diarize": "Timings",
        "transcribe": "TranscriptionTimings",
    }
    assert (result.language, result.text, result.segments[0].words[0].speaker) == ("en", "Hi.", "A")


def test_an_empty_recording_has_an_empty_transcript():
    result = TranscriptResult(job_id=JOB_ID, run="live", **combine(stages([], [])))
    assert (result.segments, result.turns, result.text, result.num_speakers) == ([], [], "", 0)


@pytest.mark.parametrize("long", [0, 20])
def test_a_word_looks_at_the_few_pieces_it_covers_however_many_turns_there_are_and_however_long(long):
    """What makes ten thousand words quick: tests/bench/transcript.py has the seconds."""
    short = [(at, at + 1500, "SHORT") for at in range(0, 5_000_000, 1000)]
    index = TurnIndex([*short, *((0, 5_000_000, f"LONG {number}") for number in range(long))])
    assert max(len(index.pieces(at, at + 300)) for at in range(0, 5_000_000, 777)) <= 2


def test_no_torch_is_imported():
    code = "import sys, processor.engines.transcript; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_the_example_of_the_page_says_what_it_prints(capsys):
    code, printed = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE.read_text(), re.DOTALL).groups()
    exec(code, {})  # noqa: S102
    assert capsys.readouterr().out == printed

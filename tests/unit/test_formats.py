"""Results in other formats, read back by independent parsers."""

import csv
import html
import io
import json
from itertools import pairwise

import pysubs2
import pytest
import webvtt
from hypothesis import given
from hypothesis import strategies as st
from pyannote.database.util import load_rttm

from processor.engines.transcript import combine
from schemas.errors import InvalidRequest
from schemas.formats import (
    DIARIZATION_FORMATS,
    TRANSCRIPT_FORMATS,
    TRANSCRIPTION_FORMATS,
    named,
    said_to_csv,
    to_csv,
    to_json,
    to_rttm,
    to_text,
)
from schemas.results import (
    AnalysedAudio,
    DiarizationResult,
    ModelInfo,
    Segment,
    Timings,
    TranscriptResult,
)
from schemas.subtitles import (
    LEAST_MS,
    MAX_SECONDS,
    MAX_WIDTH,
    cues,
    one_line,
    to_srt,
    to_vtt,
    turns_to_srt,
    turns_to_vtt,
)
from schemas.turns import Turns
from tests.support.results import (
    JOB_ID,
    segment,
    segments,
    spans,
    stages,
    transcript,
    transcription,
    turn,
    turns,
    unhurried,
    word,
)

RESULT = DiarizationResult(
    job_id="01900000-0000-7000-8000-000000000000",
    run="live",
    segments=[Segment(speaker="SPEAKER_00", start=0.03, end=1.5), Segment(speaker="SPEAKER_01", start=1.25, end=2.0)],
    exclusive_segments=[Segment(speaker="SPEAKER_00", start=0.03, end=1.5)],
    num_speakers=2,
    speakers=["SPEAKER_00", "SPEAKER_01"],
    performance=0.5,
    timings=Timings(queue=0, decode=0.1, load=0, segmentation=0.1, embedding=0.2, clustering=0.1, total=0.5),
    audio=AnalysedAudio(duration=2.0, sha256="0" * 64, sample_rate=16000, channels=1),
    model=ModelInfo(name="m", source="directory", mode="exact", device="cpu", revision="0"),
)

TURN_FORMATS = {name: known for name, known in DIARIZATION_FORMATS.items() if name != "json"}

SAID = segment(speaker="SPEAKER_00", start=0.5, end=1.25, text="Hello there.")


def rttm_turns(text, path):
    path.write_text(text)
    tracks = load_rttm(path)[JOB_ID].itertracks(yield_label=True)
    return [(label, round(turn.start, 3), round(turn.end, 3)) for turn, _, label in tracks]


def read_srt(text):
    """(start, end, text) by one parser, as milliseconds; the other one must have read the same."""
    found = [(cue.start, cue.end, cue.text) for cue in pysubs2.SSAFile.from_string(text, "srt", keep_html_tags=True)]
    assert found == [cue[:3] for cue in read_captions(text, "srt")]
    return found


def read_vtt(text):
    """(start, end, text, voice)."""
    return read_captions(text, "vtt")


def read_captions(text, format):
    if not text:
        return []
    strict = {"strict": True} if format == "vtt" else {}
    captions = webvtt.from_buffer(io.StringIO(text), format=format, **strict)
    plain = html.unescape if format == "vtt" else str
    return [
        (
            caption.start_time.in_milliseconds(),
            caption.end_time.in_milliseconds(),
            plain(caption.text if format == "vtt" else caption.raw_text).strip(),
            plain(caption.voice) if format == "vtt" and caption.voice else None,
        )
        for caption in captions
    ]


def test_rttm_reads_back(tmp_path):
    turns = rttm_turns(to_rttm(RESULT), tmp_path / "result.rttm")
    assert turns == [("SPEAKER_00", 0.03, 1.5), ("SPEAKER_01", 1.25, 2.0)]


def test_the_exclusive_turns_are_written_where_they_are_asked_for(tmp_path):
    exclusive = {name: known.showing(Turns.EXCLUSIVE).write(RESULT) for name, known in TURN_FORMATS.items()}
    assert rttm_turns(exclusive["rttm"], tmp_path / "result.rttm") == [("SPEAKER_00", 0.03, 1.5)]
    assert [row["speaker"] for row in csv.DictReader(io.StringIO(exclusive["csv"]))] == ["SPEAKER_00"]
    assert read_srt(exclusive["srt"]) == [(30, 1500, "SPEAKER_00")]
    assert read_vtt(exclusive["vtt"]) == [(30, 1500, "SPEAKER_00", "SPEAKER_00")]
    for known in TURN_FORMATS.values():
        assert known.showing(None).write(RESULT) == known.showing(Turns.OVERLAPPING).write(RESULT)


def test_a_transcript_has_exclusive_turns_unless_an_earlier_release_made_it(tmp_path):
    write = TRANSCRIPT_FORMATS["rttm"].showing(Turns.EXCLUSIVE).write
    turns, alone = [turn("A", 0.25, 1.5), turn("B", 1, 2)], [turn("A", 0.25, 1.5), turn("B", 1.5, 2)]
    combined = combine(stages([SAID], turns, alone))
    result = TranscriptResult(job_id=JOB_ID, run="live", **combined)
    assert rttm_turns(write(result), tmp_path / "result.rttm") == [("A", 0.25, 1.5), ("B", 1.5, 2.0)]
    del combined["exclusive_turns"]
    with pytest.raises(InvalidRequest, match="no exclusive turns"):
        write(TranscriptResult(job_id=JOB_ID, run="live", **combined))


@pytest.mark.parametrize("turns", Turns)
def test_where_no_turns_are_shown_there_are_none_to_choose(turns):
    without = [DIARIZATION_FORMATS["json"], *TRANSCRIPTION_FORMATS.values()]
    without += [known for name, known in TRANSCRIPT_FORMATS.items() if name != "rttm"]
    for known in without:
        assert known.showing(None) is known
        with pytest.raises(InvalidRequest, match="leave it out"):
            known.showing(turns)


@pytest.mark.parametrize(("name", "found"), [("vtt", "vtt"), ("WebVTT", "vtt"), (" TXT ", "text"), ("xml", None)])
def test_a_format_has_the_names_that_people_give_it(name, found):
    assert named(TRANSCRIPTION_FORMATS, name) is (found and TRANSCRIPTION_FORMATS[found])


def test_rttm_of_a_transcript_has_its_turns(tmp_path):
    text = to_rttm(transcript(SAID, turns=[turn("Anna B", 0.25, 1.5)]))
    assert rttm_turns(text, tmp_path / "result.rttm") == [("Anna_B", 0.25, 1.5)]


def test_rttm_counts_channels_from_one():
    turns = [Segment(speaker="A", start=0, end=1, channel=0), Segment(speaker="B", start=0, end=1, channel=1)]
    lines = to_rttm(RESULT.model_copy(update={"segments": turns})).splitlines()
    assert [line.split()[2] for line in lines] == ["1", "2"]


def test_rttm_has_no_turn_without_a_length(tmp_path):
    """Some readers refuse one."""
    spans = [("A", 1, 1), ("A", 1, 1.0004), ("B", 1.25, 1.2506), ("C", 1, 2)]
    found = RESULT.model_copy(update={"segments": [Segment(speaker=who, start=a, end=b) for who, a, b in spans]})
    assert [line.split()[4] for line in to_rttm(found).splitlines()] == ["0.001", "1.000"]
    assert rttm_turns(to_rttm(found), tmp_path / "result.rttm") == [("C", 1, 2), ("B", 1.25, 1.251)]


def test_csv_reads_back():
    turns = [
        Segment(speaker='A, "the" one', start=0.0304, end=360000.5, confidence=0.25),
        Segment(speaker="B\nC", start=1, end=2),
    ]
    rows = list(csv.DictReader(io.StringIO(to_csv(RESULT.model_copy(update={"segments": turns})), newline="")))
    assert rows == [
        {"speaker": 'A, "the" one', "start": "0.030", "end": "360000.500", "confidence": "0.25"},
        {"speaker": "B\nC", "start": "1.000", "end": "2.000", "confidence": ""},
    ]


@pytest.mark.parametrize("result", [RESULT, transcription(SAID), transcript(SAID, SAID | {"speaker": None})])
def test_json_reads_back(result):
    assert type(result).model_validate(json.loads(to_json(result))) == result


def test_a_word_that_nobody_said_says_so():
    words = [word(" Hi.", 0, 1) | {"speaker": None}]
    (told,) = json.loads(to_json(transcript(segment(*words, speaker=None))))["segments"]
    assert (told["speaker"], told["words"][0]["speaker"]) == (None, None)


def test_text_is_a_line_a_segment():
    blank, unknown = SAID | {"text": " \n"}, SAID | {"text": " Two\nlines.", "speaker": None}
    assert to_text(transcription(SAID, blank, unknown)) == "Hello there.\nTwo lines.\n"
    assert to_text(transcript(SAID, blank, unknown)) == "SPEAKER_00: Hello there.\n?: Two lines.\n"


def test_srt():
    assert to_srt(transcription(SAID, SAID)).startswith(
        "1\n00:00:00,500 --> 00:00:01,250\nHello there.\n\n2\n00:00:00,500"
    )
    assert read_srt(to_srt(transcript(SAID, SAID | {"speaker": None}))) == [
        (500, 1250, "SPEAKER_00: Hello there."),
        (500, 1250, "?: Hello there."),
    ]


def test_vtt():
    assert to_vtt(transcription(SAID)) == "WEBVTT\n\n00:00:00.500 --> 00:00:01.250\nHello there.\n"
    assert read_vtt(to_vtt(transcript(SAID, SAID | {"speaker": None}))) == [
        (500, 1250, "Hello there.", "SPEAKER_00"),
        (500, 1250, "Hello there.", None),
    ]


def test_what_a_format_would_take_for_its_own_is_escaped():
    text = "a < b && <i>c</i> &amp;\r\n\r\n2\n00:00:05.000 --> 00:00:06.000\n\u2028\x00NOTE"
    line = "a < b && <i>c</i> &amp; 2 00:00:05.000 --> 00:00:06.000 NOTE"
    said = transcript(SAID | {"text": text, "speaker": "R&D <\n\n-->"})
    assert read_vtt(to_vtt(said)) == [(500, 1250, line, "R&D < -->")]
    assert to_vtt(said).count("-->") == 1
    arrows = line.replace("-->", "→")
    assert [cue[:3] for cue in read_captions(to_srt(said), "srt")] == [(500, 1250, f"R&D < →: {arrows}")]


def test_nothing_said_makes_a_legal_document():
    for result in (transcription(), transcript(), transcription(SAID | {"text": ""})):
        assert (to_srt(result), to_text(result), to_vtt(result)) == ("", "", "WEBVTT\n")
        assert read_vtt(to_vtt(result)) == []
    assert to_rttm(transcript()) == ""
    assert to_csv(RESULT.model_copy(update={"segments": []})) == "speaker,start,end,confidence\r\n"


def test_more_than_a_hundred_hours():
    late = transcription(SAID | {"start": 360000.001, "end": 4000000.0})
    assert read_captions(to_srt(late), "srt")[0][:2] == read_vtt(to_vtt(late))[0][:2] == (360000001, 4000000000)


@pytest.mark.parametrize("end", [0.0, 0.5, 0.5004])
def test_a_cue_lasts_some_time(end):
    assert read_vtt(to_vtt(transcription(SAID | {"end": end})))[0][:2] == (500, 500 + LEAST_MS)


def test_nothing_begins_before_the_recording():
    assert read_vtt(to_vtt(transcription(SAID | {"start": -0.1})))[0][0] == 0


def test_cues_are_in_the_order_of_their_starts():
    texts = [cue.text for cue in cues(transcription(SAID | {"start": 3, "end": 4, "text": "later"}, SAID).segments)]
    assert texts == ["Hello there.", "later"]


def spoken(texts, seconds=0.3):
    return segment(*(word(text, index * seconds, (index + 1) * seconds) for index, text in enumerate(texts)))


def test_a_long_segment_is_broken_between_words():
    found = cues(transcription(spoken([" word"] * 20)).segments)
    assert [(cue.start, cue.end, cue.text) for cue in found] == [
        (0, 5100, " ".join(["word"] * 17)),
        (5100, 6000, "word word word"),
    ]


def test_rather_after_a_mark():
    words = [" word"] * 11 + [" word,"] + [" word"] * 8
    assert [len(cue.text.split()) for cue in cues(transcription(spoken(words)).segments)] == [12, 8]
    early = [" word,"] + [" word"] * 19
    assert [len(cue.text.split()) for cue in cues(transcription(spoken(early)).segments)] == [16, 4]


def test_a_slow_one_by_its_time():
    found = cues(transcription(spoken([" a", " b", " c", " d", " e"], seconds=2.5)).segments)
    assert [cue.text for cue in found] == ["a b", "c d", "e"]


def test_wide_characters_count_twice():
    assert [len(cue.text) for cue in cues(transcription(spoken(["语"] * 60, 0.1)).segments)] == [42, 18]


def test_a_word_is_never_broken_and_neither_is_a_segment_without_words():
    long = "x" * 200
    assert [cue.text for cue in cues(transcription(spoken([" a", long, " b"])).segments)] == ["a", long, "b"]
    assert [cue.text for cue in cues(transcription(segment(text=long, start=0, end=60)).segments)] == [long]


@unhurried
@given(segments(), turns())
def test_what_is_written_reads_back(spoken, turns):
    result = TranscriptResult(job_id=JOB_ID, run="live", **combine(stages(spoken, turns)))
    shown = cues(result.segments)
    assert read_vtt(to_vtt(result)) == [
        (cue.start, cue.end, cue.text, None if cue.speaker == "?" else cue.speaker) for cue in shown
    ]
    short = all(cue.end < 100 * 3600 * 1000 for cue in shown)  # pysubs2 knows two digits of hours
    read = read_srt(to_srt(result)) if short else [cue[:3] for cue in read_captions(to_srt(result), "srt")]
    assert read == [(cue.start, cue.end, f"{cue.speaker}: {cue.text}".replace("-->", "→")) for cue in shown]


anybody = st.one_of(
    st.sampled_from(["SPEAKER_00", "R&D <b>", "a-->b", "Ann\ne", '=1+"2",', "日本", " "]), st.text(max_size=9)
)
any_turns = st.lists(
    st.builds(lambda who, span: Segment(speaker=who, start=span[0], end=span[1]), anybody, spans()), max_size=9
)


def shown_name(speaker):
    return one_line(speaker) or "?"


@unhurried
@given(any_turns)
def test_turns_read_back_as_cues_with_the_names_of_the_speakers(turns):
    result = RESULT.model_copy(update={"segments": turns})
    told = sorted(
        (round(t.start * 1000), max(round(t.end * 1000), round(t.start * 1000)), shown_name(t.speaker)) for t in turns
    )
    told = [(start, end if end > start else start + LEAST_MS, name) for start, end, name in told]
    vtt = read_vtt(turns_to_vtt(result))
    assert sorted(cue[:3] for cue in vtt) == sorted(told)
    assert all(voice == (None if name == "?" else name) for *_, name, voice in vtt)
    starts = [cue[0] for cue in vtt]
    assert starts == sorted(starts)
    srt = read_captions(turns_to_srt(result), "srt")
    assert sorted(cue[:3] for cue in srt) == sorted((*times, name.replace("-->", "→")) for *times, name in told)


@unhurried
@given(any_turns)
def test_turns_read_back_as_rows(turns):
    rows = list(csv.DictReader(io.StringIO(to_csv(RESULT.model_copy(update={"segments": turns})), newline="")))
    assert rows == [
        {"speaker": t.speaker, "start": f"{t.start:.3f}", "end": f"{t.end:.3f}", "confidence": ""} for t in turns
    ]


@unhurried
@given(segments(), turns())
def test_what_was_said_reads_back_as_rows(spoken, turns):
    said = TranscriptResult(job_id=JOB_ID, run="live", **combine(stages(spoken, turns)))
    rows = list(csv.DictReader(io.StringIO(said_to_csv(said), newline="")))
    told = [each for each in said.segments if one_line(each.text)]
    assert [(row["speaker"], row["text"]) for row in rows] == [(t.speaker or "", t.text.strip()) for t in told]
    assert [(float(row["start"]), float(row["end"])) for row in rows] == [
        (pytest.approx(t.start, abs=0.0006), pytest.approx(t.end, abs=0.0006)) for t in told
    ]
    plain = list(csv.DictReader(io.StringIO(said_to_csv(transcription(*spoken)), newline="")))
    assert all(row.keys() == {"start", "end", "text"} for row in plain)


def unspaced(text):
    return "".join(one_line(text).split())


@unhurried
@given(segments())
def test_cues_say_everything_that_was_said(spoken):
    for said in transcription(*spoken).segments:
        words = sorted(said.words, key=lambda word: word.start)  # as cues are
        text = "".join(word.word for word in words) or said.text
        found = cues([said.model_copy(update={"words": words, "text": text})])
        assert unspaced("".join(cue.text for cue in found)) == unspaced(text)
        assert all(0 <= cue.start < cue.end for cue in found)


@unhurried
@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 4000), st.booleans()), min_size=1, max_size=60))
def test_each_cue_fits_or_is_one_word(words):
    """Of (length, milliseconds, whether a mark follows)."""
    starts = [sum(length for _, length, _ in words[:index]) / 1000 for index in range(len(words))]
    given = [
        word(" " + "x" * size + "." * mark, start, start + length / 1000)
        for start, (size, length, mark) in zip(starts, words, strict=True)
    ]
    found = cues(transcription(segment(*given)).segments)
    assert " ".join(cue.text for cue in found) == "".join(word["word"] for word in given).strip()
    for cue in found:
        fits = len(cue.text) <= MAX_WIDTH and cue.end - cue.start <= MAX_SECONDS * 1000 + LEAST_MS
        assert fits or len(cue.text.split()) == 1
    assert all(one.start <= next.start for one, next in pairwise(found))


@pytest.mark.parametrize("formats", [DIARIZATION_FORMATS, TRANSCRIPTION_FORMATS, TRANSCRIPT_FORMATS])
def test_each_format_has_a_media_type_of_its_own(formats):
    assert len({known.media_type for known in formats.values()}) == len(formats)
    assert next(iter(formats)) == "json", "what a caller gets who does not choose"


@pytest.mark.parametrize(
    ("formats", "result"),
    [
        (DIARIZATION_FORMATS, RESULT),
        (TRANSCRIPTION_FORMATS, transcription(SAID)),
        (TRANSCRIPT_FORMATS, transcript(SAID, turns=[turn("SPEAKER_00", 0, 1)])),
    ],
)
def test_each_format_can_write_the_result_it_is_for(formats, result):
    assert all(known.write(result) for known in formats.values())

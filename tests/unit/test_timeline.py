"""Who spoke when, for the eye: rows as wide as the terminal, and a picture."""

import io
from xml.etree import ElementTree

import pytest
from rich.console import Console

from schemas.operations import TRANSCRIPT
from schemas.results import (
    AnalysedAudio,
    DiarizationResult,
    ModelInfo,
    Segment,
    SpeakerStats,
    Timings,
    TranscriptResult,
)
from turnstream.timeline import axis, bar, cells, clock, said_table, tick_step, timeline, to_svg, turns_table

RUN = {"job_id": "01890a5d-ac96-774b-bcce-b302099a8057", "run": "live"}
SVG = "{http://www.w3.org/2000/svg}"


def result(*turns: tuple[str, float, float], duration: float = 30.0) -> DiarizationResult:
    segments = [Segment(speaker=speaker, start=start, end=end) for speaker, start, end in turns]
    speakers = sorted({turn.speaker for turn in segments})
    return DiarizationResult(
        job_id="01890a5d-ac96-774b-bcce-b302099a8057",
        run="live",
        segments=segments,
        exclusive_segments=segments,
        num_speakers=len(speakers),
        speakers=speakers,
        performance=1.0,
        timings=Timings(queue=0, decode=0, load=0, segmentation=0, embedding=0, clustering=0, total=1),
        audio=AnalysedAudio(duration=duration, sha256="0" * 64, sample_rate=16000, channels=1),
        model=ModelInfo(name="m", source="open-pack", mode="exact", device="cpu", revision="r"),
    )


def rendered(thing, width: int = 80, encoding: str = "utf-8") -> list[str]:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=out, width=width).print(thing)
    out.seek(0)
    return out.read().splitlines()


def shown(found: DiarizationResult, width: int = 80, encoding: str = "utf-8") -> list[str]:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=out, width=width)
    console.print(timeline(found, console))
    out.seek(0)
    return out.read().splitlines()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00.0"), (59.96, "1:00.0"), (61.25, "1:01.2"), (3599, "59:59.0"), (3725.4, "1:02:05")]
)
def test_a_clock_reads_as_people_write_it(seconds: float, text: str):
    assert clock(seconds) == text


def test_a_clock_can_be_finer():
    assert clock(66.128, 2) == "1:06.13"


def test_cells_hold_the_part_that_is_speech():
    turns = [Segment(speaker="A", start=1, end=2.5), Segment(speaker="A", start=9, end=10)]
    assert cells(turns, 10, 10) == [0, 1, 0.5, 0, 0, 0, 0, 0, 0, 1]


def test_cells_stand_turns_beyond_the_end_and_no_duration():
    assert cells([Segment(speaker="A", start=9, end=12)], 10, 10)[-1] == 1
    assert cells([Segment(speaker="A", start=0, end=1)], 0, 3) == [0, 0, 0]


def test_a_short_turn_still_shows():
    assert bar([Segment(speaker="A", start=5, end=5.01)], 100, 20, plain=False).strip() == "▏"
    assert bar([Segment(speaker="A", start=5, end=5.01)], 100, 20, plain=True).strip() == "-"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_rows_fit_the_terminal_and_keep_speakers_apart_without_colour(width: int):
    lines = shown(result(("SPEAKER_00", 0, 10), ("SPEAKER_01", 10, 30)), width)
    assert len(lines) == 3
    assert all(len(line) <= width for line in lines)
    assert lines[0].startswith("SPEAKER_00 █")
    assert lines[1].startswith("SPEAKER_01  ")
    assert lines[0].rstrip().endswith("0:10.0 33%")


def test_a_terminal_without_unicode_gets_ascii():
    lines = shown(result(("SPEAKER_00", 0, 30)), encoding="ascii")
    assert "###" in lines[0]


def test_nobody_speaks():
    assert shown(result()) == ["Nobody speaks in this recording."]


def test_the_axis_begins_labels_at_their_place():
    line = axis(30, 60)
    assert line.startswith("0:00 ")
    assert line.index("0:10") == 20
    assert len(line) == 60


def test_ticks_never_crowd():
    assert tick_step(30, 5) == 10
    assert tick_step(10 * 3600, 8) == 7200


def test_a_long_result_shows_its_first_turns_and_says_how_many_more():
    many = result(*(("A", float(at), at + 0.5) for at in range(100)), duration=100)
    lines = rendered(turns_table(many, limit=10))
    assert len(lines) == 12
    assert lines[-1].strip() == "... and 90 more turns"


def test_the_picture_has_a_rectangle_for_each_turn_and_escapes_what_it_is_given():
    picture = to_svg(result(("A<&>", 0, 10), ("B", 10, 30), ("A<&>", 20, 25)), title='"x" & <y>')
    root = ElementTree.fromstring(picture)  # noqa: S314 - of our own making
    turns = [rect for rect in root.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None]
    assert [turn.find(f"{SVG}title").text for turn in turns] == [
        "A<&> 0:00.0 to 0:10.0",
        "A<&> 0:20.0 to 0:25.0",
        "B 0:10.0 to 0:30.0",
    ]
    assert float(turns[0].get("width")) == pytest.approx(705 / 3, abs=0.1)
    assert root.find(f"{SVG}title").text == '"x" & <y>: 2 speakers, 0:30.0'


def test_what_a_result_says_of_its_speakers_goes_before_what_its_turns_say():
    found = result(("A", 0, 10), ("B", 10, 30))
    told = SpeakerStats(speaker="A", speaking_time=5, share=0.2)
    lines = shown(found.model_copy(update={"speaker_stats": [told]}))
    assert [line.split()[-2:] for line in lines[:2]] == [["0:05.0", "20%"], ["0:20.0", "67%"]]
    assert ">0:05.0, 20%<" in to_svg(found.model_copy(update={"speaker_stats": [told]}), "x")


def test_how_sure_a_turn_is_has_a_column_where_results_say_it():
    sure = [Segment(speaker="A", start=0, end=1, confidence=0.876), Segment(speaker="A", start=2, end=3)]
    found = result().model_copy(update={"segments": sure, "speakers": ["A"]})
    lines = [line.split() for line in rendered(turns_table(found))]
    assert lines[0] == ["speaker", "start", "end", "length", "confidence"]
    assert [line[-1] for line in lines[1:]] == ["0.88", "s"]
    assert "confidence" not in rendered(turns_table(result(("A", 0, 1))))[0]


def test_who_said_what_is_a_row_a_segment():
    segments = [
        {"speaker": "SPEAKER_00", "start": 0.5, "end": 2, "text": " Hello,\x1b[31m Anna. ", "words": []},
        {"speaker": None, "start": 65, "end": 66, "text": "Hm?", "words": []},
    ]
    found = TranscriptResult.model_validate({**TRANSCRIPT.example, **RUN, "segments": segments})
    lines = [line.split() for line in rendered(said_table(found))]
    assert lines == [
        ["time", "speaker", "text"],
        ["0:00.5", "SPEAKER_00", "Hello,", "[31m", "Anna."],
        ["1:05.0", "?", "Hm?"],
    ]


@pytest.mark.parametrize("width", [40, 80])
def test_a_long_text_is_wrapped_beside_its_speaker(width: int):
    segments = [{"speaker": "SPEAKER_01", "start": 0, "end": 9, "text": "word " * 40, "words": []}]
    found = TranscriptResult.model_validate({**TRANSCRIPT.example, **RUN, "segments": segments})
    lines = rendered(said_table(found), width)
    assert all(len(line) <= width for line in lines)
    assert sum(line.count("word") for line in lines) == 40


def test_nobody_says_anything():
    found = TranscriptResult.model_validate({**TRANSCRIPT.example, **RUN, "segments": []})
    assert rendered(said_table(found)) == ["Nobody says anything in this recording."]


def test_the_picture_of_silence_is_a_picture():
    ElementTree.fromstring(to_svg(result(duration=0), "quiet"))  # noqa: S314 - of our own making

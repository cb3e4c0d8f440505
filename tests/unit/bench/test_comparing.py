"""What the bench tells of runs: ratios within pairs, errors, and what differs from stock."""

import json
import shlex
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench import engine, report
from tests.bench.apart import Apart
from tests.bench.comparing import compared, whole
from tests.bench.corpus.reference import Spoken
from tests.bench.der import FRAME, Errors, by_frame, difference, errors
from tests.bench.peer import Peer
from tests.bench.remembered import remembered
from tests.bench.ways import Run

PYTHON = shlex.quote(sys.executable)
REFERENCE = [Spoken("a", 0.0, 4.0), Spoken("b", 4.0, 10.0)]
STOCK = [Spoken("SPEAKER_00", 0.0, 4.0), Spoken("SPEAKER_01", 4.0, 10.0)]


def run(seconds: float, turns: list[Spoken] | None = None, resident: float = 100.0) -> Run:
    return Run(seconds, STOCK if turns is None else turns, resident, 60.0)


def none_asked_for() -> list[float]:
    raise AssertionError("near-ties matter only where turns differ")


def test_ratios_are_taken_within_pairs() -> None:
    rows = compared({"stock-1": [run(10), run(30)], "exact": [run(2), run(3)]}, REFERENCE, 10, none_asked_for)
    assert rows["exact"]["times_as_fast"] == {"median": 7.5, "low": 5.0, "high": 10.0}
    assert rows["exact"]["same_as_stock"] is True
    assert "times_as_fast" not in rows["stock-1"]
    assert rows["stock-1"]["of_real_time"] == 2.0
    assert rows["stock-1"]["growth_mib"] == 40.0


def test_a_late_end_of_a_turn_is_counted_in_frames_and_errors() -> None:
    late = [STOCK[0], Spoken("SPEAKER_01", 4.0 + 3 * FRAME, 10.0)]
    rows = compared({"stock-1": [run(1)], "fast": [run(1, late)]}, REFERENCE, 10, lambda: [4.0 + FRAME / 2])
    assert rows["fast"]["same_as_stock"] is False
    assert rows["fast"]["differs"] == {"frames": 3, "near_ties": 2}
    assert rows["fast"]["der"] == pytest.approx(100 * 3 * FRAME / 10, abs=1e-3)
    assert rows["fast"]["der_collar"] == 0.0
    assert rows["fast"]["der_against_stock"] == pytest.approx(rows["fast"]["der"], abs=1e-3)


def test_other_names_of_speakers_are_no_difference() -> None:
    swapped = [Spoken("x", 0.0, 4.0), Spoken("y", 4.0, 10.0)]
    assert difference(swapped, STOCK, 10, []).frames == 0


def test_a_speaker_too_many_is_a_difference() -> None:
    more = [*STOCK, Spoken("SPEAKER_02", 1.0, 1.0 + 10 * FRAME)]
    assert difference(more, STOCK, 10, []).frames == 10


def spans() -> st.SearchStrategy[list[Spoken]]:
    one = st.builds(
        lambda speaker, at, length: Spoken(speaker, at * FRAME, (at + length) * FRAME),
        st.sampled_from("abc"),
        st.integers(0, 500),
        st.integers(1, 60),
    )
    return st.lists(one, max_size=10)


@given(spans())
def test_turns_do_not_differ_from_themselves(turns: list[Spoken]) -> None:
    assert difference(turns, turns, 10, []).frames == 0


@given(spans())
def test_frames_hold_what_turns_say(turns: list[Spoken]) -> None:
    frames = by_frame(turns, 600 * FRAME)
    for speaker in "abc":
        covered = {
            index
            for turn in turns
            if turn.speaker == speaker
            for index in range(round(turn.start / FRAME), round(turn.end / FRAME))
        }
        assert covered == {index for index, speaking in enumerate(frames) if speaker in speaking}


def test_the_collar_is_on_either_side() -> None:
    found = [Spoken("a", 0.0, 4.2), Spoken("b", 4.2, 10.0)]
    assert errors(REFERENCE, found, 10).rate == pytest.approx(2.0)
    assert errors(REFERENCE, found, 10, collar=0.25).rate == pytest.approx(0.0)
    assert errors(REFERENCE, found, 10, collar=0.1).confused == pytest.approx(0.1)


def test_the_whole_set_weighs_files_by_their_speech() -> None:
    def file(name: str, seconds: float, wrong: float) -> dict:
        found = errors([Spoken("a", 0, seconds)], [Spoken("x", 0, seconds - wrong)], seconds)
        row = {"errors": found_as_json(found), "errors_collar": found_as_json(found), "speakers": 1, "der": found.rate}
        return {"name": name, "speakers": 1, "ways": {"stock-1": row, "exact": row | {"same_as_stock": True}}}

    told = whole([file("short", 10, 5), file("long", 90, 0)])
    assert told["exact"]["der"] == pytest.approx(5.0)
    assert told["exact"]["speakers_right"] == 2
    assert told["exact"]["worst_der_over_stock"] == 0


def found_as_json(found: Errors) -> dict:
    return {name: getattr(found, name) for name in ("total", "missed", "false_alarm", "confused")}


def test_a_run_of_stock_is_kept_for_the_same_file(tmp_path: Path) -> None:
    asked: list[Path] = []

    def once(path: Path) -> Run:
        asked.append(path)
        return run(12.5)

    audio, other = tmp_path / "a.wav", tmp_path / "b.wav"
    audio.write_bytes(b"one")
    other.write_bytes(b"two")
    first, again = (remembered(tmp_path / "kept", "stock-1", "cpu", "r", audio, once) for _ in range(2))
    remembered(tmp_path / "kept", "stock-1", "cpu", "r", other, once)
    remembered(tmp_path / "kept", "stock-32", "cpu", "r", audio, once)
    remembered(tmp_path / "kept", "stock-1", "cpu", "other weights", audio, once)
    assert first == again == run(12.5)
    assert asked == [audio, other, audio, audio]


def test_an_earlier_report_counts_only_for_the_same_machine_and_versions(tmp_path: Path) -> None:
    out = tmp_path / "engine.json"
    document = report.head("command") | {"device": "cpu"}
    assert engine.earlier(out, document) == []
    report.write(out, document | {"files": [{"name": "hour"}]})
    assert engine.earlier(out, report.head("another command") | {"device": "cpu"}) == [{"name": "hour"}]
    assert engine.earlier(out, document | {"device": "cuda"}) == []
    assert engine.earlier(out, document | {"versions": {"torch": "0"}}) == []


def test_a_command_names_no_folder_of_one_machine() -> None:
    line = report.command(
        "tests.bench.engine", ["--out", "/home/somebody/engine.json", "--pairs", "5", "--files", "a b"]
    )
    assert line == "python -m tests.bench.engine --out engine.json --pairs 5 --files 'a b'"


def test_what_fails_in_a_process_apart_is_told_here() -> None:
    with pytest.raises(RuntimeError, match="invalid literal for int"):
        Apart("stock-none", "cpu")


def test_a_report_is_json(tmp_path: Path) -> None:
    out = tmp_path / "new" / "report.json"
    report.write(out, report.head("command"))
    assert {"command", "date", "machine", "versions", "load_average"} == set(json.loads(out.read_text()))
    report.write(None, {})


def test_a_peer_is_a_command_that_prints_rttm(tmp_path: Path) -> None:
    audio = tmp_path / "a.wav"
    audio.touch()
    line = "print('SPEAKER', __import__('sys').argv[1][-1], 1, 0.5, 1.5, '<NA> <NA> x <NA> <NA>')"
    found = Peer("one", f'{PYTHON} -c "{line}"').run(audio)
    assert found.turns == [Spoken("x", 0.5, 2.0)]
    assert found.resident > 1
    with pytest.raises(RuntimeError, match="ended with 3"):
        Peer("broken", f"{PYTHON} -c 'raise SystemExit(3)'").run(audio)

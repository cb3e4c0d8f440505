"""`turnstream backfill`: what its options mean."""

from pathlib import Path

import pytest

from schemas.jobs import DiarizeParams, Lane, Mode
from schemas.operations import DIARIZE
from tests.unit.test_cli import run
from turnstream.backfill import run as module
from turnstream.backfill.archive import Choice
from turnstream.backfill.run import Places
from turnstream.backfill.work import Work


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list:
    """What it was asked for."""
    given: list = []

    def backfill(_, source: Path, work: Work, **how) -> bool:
        given.append((source, work, how))
        return len(given) < 2

    monkeypatch.setattr(module, "backfill", backfill)
    monkeypatch.setenv("COLUMNS", "200")
    return given


def test_it_hands_over_what_was_said(capsys, asked):
    options = ["--mode", "fast", "--max-speakers", "3", "--lane", "interactive", "--at-once", "5", "--format", "rttm"]
    places = ["--out", "results", "--failures", "bad.jsonl", "--state", "s.db"]
    chosen = ["--ext", "mp3,wav", "--ext", "opus", "--glob", "2026/*", "--no-wait"]
    assert run(capsys, "backfill", "calls", *options, *places, *chosen)[0] == 0
    [(source, work, how)] = asked
    assert (source, work.operation, work.format_, work.lane, work.out, work.wait) == (
        Path("calls"), DIARIZE, "rttm", Lane.INTERACTIVE, Path("results"), False
    )  # fmt: skip
    assert work.params == DiarizeParams(mode=Mode.FAST, max_speakers=3)
    assert how["places"] == Places(failures=Path("bad.jsonl"), state=Path("s.db"))
    assert (how["at_once"], how["choice"]) == (5, Choice(("2026/*",), ("mp3", "wav", "opus")))


def test_something_failed_is_exit_code_1(capsys, asked):
    assert [run(capsys, "backfill", "-")[0] for _ in range(2)] == [0, 1]
    assert asked[0][1].lane is Lane.BATCH


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--operation", "translate"], "there are diarize, transcribe, transcript"),
        (["--format", "docx"], "there are json, rttm"),
        (["--language", "en"], "diarize takes no language"),
        (["--at-once", "0"], "--at-once"),
        (["--lane", "fast"], "--lane"),
    ],
)
def test_what_is_not_known_is_wrong_usage(capsys, asked, arguments, says):
    code, _, err = run(capsys, "backfill", "calls", *arguments)
    assert (code, asked) == (2, [])
    assert says in err


def test_no_archive_is_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    says = "there is no none: name a folder of recordings, or a file that lists them"
    assert run(capsys, "backfill", "none") == (2, "", f"turnstream: {says}\n")


def test_the_same_work_on_the_same_bytes_is_the_same_task():
    work = Work(DIARIZE, DiarizeParams(), "json")
    assert work.task("a") == Work(DIARIZE, DiarizeParams(min_duration_on=0.0), "rttm", lane=Lane.INTERACTIVE).task("a")
    others = (work.task("b"), Work(DIARIZE, DiarizeParams(mode=Mode.FAST), "json").task("a"))
    assert len({work.task("a"), *others}) == 3

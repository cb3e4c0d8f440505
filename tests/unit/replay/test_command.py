"""`turnstream replay` where no stack runs."""

import os
from pathlib import Path

import pytest

from tests.unit.test_cli import run

LAST_WEEK = ("replay", "--from", "7d", "--run", "again")


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object store of its own, and no broker; what it does to its priority would last."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("BROKER", "KAFKA_BOOTSTRAP_SERVERS", "OBJECT_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "nice", lambda _: 0)
    (tmp_path / "data" / "objects").mkdir(parents=True)


@pytest.mark.parametrize("command", [("list",), ("status", "q"), ("cancel", "q"), (*LAST_WEEK[1:], "--dry-run")])
def test_in_the_wrong_folder_it_says_so_and_leaves_none(capsys, monkeypatch, tmp_path: Path, command: tuple[str, ...]):
    monkeypatch.setenv("DATA_DIR", "elsewhere")
    code, out, err = run(capsys, "replay", *command)
    says = f"there is no object store in {tmp_path}/elsewhere/objects: say where the stack keeps its data with DATA_DIR"
    assert (code, out, err) == (2, "", f"turnstream: {says}\n")
    assert not (tmp_path / "elsewhere").exists()


def test_what_only_looks_into_the_record_wants_no_broker(capsys: pytest.CaptureFixture[str]):
    code, out, err = run(capsys, *LAST_WEEK, "--dry-run")
    assert (code, "0 runs would be asked for" in out) == (0, True), err
    assert run(capsys, "replay", "list") == (0, "There are no replays.\n", "")


def test_what_publishes_wants_one(capsys: pytest.CaptureFixture[str]):
    code, _, err = run(capsys, *LAST_WEEK)
    assert (code, "no stack runs" in err) == (2, True)
    assert run(capsys, "replay", "list")[1] == "There are no replays.\n"


def test_a_value_that_is_mistyped_takes_no_name(capsys: pytest.CaptureFixture[str]):
    code, _, err = run(capsys, *LAST_WEEK, "--param", "mode=fsat")
    assert (code, err) == (2, "turnstream: --param mode=fsat: Input should be 'exact' or 'fast' (diarize)\n")
    code, out, err = run(capsys, *LAST_WEEK, "--param", "mode=fast", "--dry-run")
    assert (code, "mode=fast" in out) == (0, True), err


def test_a_name_that_runs_get_by_themselves_is_refused(capsys: pytest.CaptureFixture[str]):
    code, _, err = run(capsys, "replay", "--from", "7d", "--run", "run-2")
    assert (code, "give the replay another" in err) == (2, True)

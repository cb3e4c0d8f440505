"""Where the tools for the real servers are missing, that is said, and the command runs without them."""

import sys
from pathlib import Path

import pytest

from tests.support import real


def test_without_the_tools_the_command_runs_without_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(real.REAL_KAFKA, raising=False)
    code = real.main([sys.executable, "-c", f"import os; print(os.environ.get('{real.REAL_KAFKA}')); exit(3)"])
    assert code == 3
    assert capfd.readouterr().out == f"skipped: {real.REASON}; missing here: a JDK (17 or newer), Maven, Go\nNone\n"


@pytest.mark.parametrize(("says", "missing"), [("11.0.2", ["a JDK (17 or newer)"]), ("17.0.15", []), ("21", [])])
def test_an_older_java_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, missing: list[str]):
    for name in ("java", "mvn", "go"):
        tool = tmp_path / name
        tool.write_text(f"#!/bin/sh\necho 'openjdk version \"{says}\" 2026-01-01' >&2\n")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert real.missing_tools() == missing


def test_a_server_that_does_not_start_says_why(tmp_path: Path):
    class Broken(real.Kafka):
        home = tmp_path

        def _command(self) -> tuple[list[str], dict[str, str]]:
            return [sys.executable, "-c", "exit('no room left')"], {}

    with pytest.raises(RuntimeError, match="kafka did not start:\nno room left"):
        Broken(tmp_path / "run").start()

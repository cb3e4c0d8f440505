"""The demo as README.md, install.md and tutorial.md have it: the real model on the sample, and any file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.results import DiarizationResult
from tests.support import recordings

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


def demo(folder: Path, *arguments: str, **env: str) -> str:
    command = [sys.executable, "-m", "turnstream", "demo", *arguments]
    settings = {"API_KEY": "", "HF_TOKEN": "", "ENABLE_DIARIZATION": "true"}
    done = subprocess.run(
        command, cwd=folder, env=os.environ | settings | env, capture_output=True, text=True, timeout=280, check=False
    )
    log = "".join(path.read_text() for path in folder.rglob("*.log"))
    assert done.returncode == 0, done.stderr + done.stdout + log
    assert log.rstrip().endswith("stopped")
    return done.stdout


@pytest.mark.model
def test_the_sample_with_its_error_rate(tmp_path: Path):
    said = demo(tmp_path)
    assert "5.2% DER" in said
    assert "x real time: 30.0 s of sound" in said
    assert "SPEAKER_01" in said
    output = tmp_path / "demo-output"
    assert {path.name for path in output.iterdir()} == {f"sample.{kind}" for kind in ("json", "rttm", "svg", "log")}
    result = DiarizationResult.model_validate_json((output / "sample.json").read_bytes())
    assert result.num_speakers == 2
    assert len((output / "sample.rttm").read_text().splitlines()) == len(result.segments)


def test_any_file_without_an_error_rate(tmp_path: Path):
    recording = recordings.wav(recordings.tone(2), recordings.SAMPLE_RATE, tmp_path / "talk.wav")
    said = demo(tmp_path, str(recording), "--out", "mine/talk.json", ENGINE="scripted")
    assert "DER" not in said
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {
        f"talk.{kind}" for kind in ("json", "rttm", "svg", "log")
    }

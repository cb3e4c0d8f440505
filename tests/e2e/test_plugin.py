"""An operation that another distribution brings, from the form to the sound, by the commands that docs/operations.md shows."""

import io
import os
import re
import shlex
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import InvalidRequest
from schemas.jobs import JobState
from tests.support.speak import SpeakResult, install
from tests.support.stack import Stack, running_stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]

DOCS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture(scope="module")
def plugged(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(install(tmp_path_factory.mktemp("plugin")))


@pytest.fixture(scope="module")
def stack(plugged: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """With the real engines, of which only the plug-in's is asked to do anything."""
    with running_stack(tmp_path_factory.mktemp("stack"), PYTHONPATH=plugged) as stack:
        yield stack


def heard(content: bytes) -> float:
    """Seconds of a WAV file that is not silent."""
    with wave.open(io.BytesIO(content)) as file:
        assert any(file.readframes(file.getnframes()))
        return file.getnframes() / file.getframerate()


def test_a_text_becomes_sound(stack: Stack):
    with stack.client() as client:
        job = client.submit(None, {"text": "Good morning", "voice": "high", "speed": 2}, operation="speak")
        *_, view = client.wait(job.id, timeout=60)
        assert view.state is JobState.SUCCEEDED
        result = client.result(job.id, SpeakResult)
    assert result.duration == pytest.approx(12 * 0.05 / 2)
    assert result.timings.keys() == {"queue", "total"}
    assert stack.event_ids("speech-results") == {f"{job.id}/live": 1}


def test_a_long_text_takes_several_steps(stack: Stack):
    with stack.client() as client:
        job = client.submit(None, {"text": "a" * 2_000}, operation="speak")
        assert [*client.wait(job.id, timeout=60)][-1].state is JobState.SUCCEEDED
        assert client.result(job.id, SpeakResult).duration == pytest.approx(100)


def test_what_does_not_fit_is_said_at_once(stack: Stack):
    with stack.client() as client, pytest.raises(InvalidRequest, match="speed"):
        client.submit(None, {"text": "Hello", "speed": 100}, operation="speak")


def test_the_command_that_the_documentation_shows(stack: Stack, plugged: str):
    [command] = re.findall(r"turnstream (submit --operation speak .*) > morning\.wav", DOCS.read_text())
    done = subprocess.run(
        [sys.executable, "-m", "turnstream", *shlex.split(command)],
        env={**os.environ, "PYTHONPATH": plugged, "TURNSTREAM_URL": stack.url, "API_KEY": ""},
        capture_output=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert heard(done.stdout) == pytest.approx(12 * 0.05)

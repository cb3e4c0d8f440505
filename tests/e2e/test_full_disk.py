"""The disk under a running stack is full for a while: nobody is promised what it cannot keep, and nothing promised is lost."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from schemas.jobs import JobState
from tests.support import limits, recordings
from tests.support.probes import GETS_ON, STANDS_STILL, progress
from tests.support.stack import Stack, running_stack
from tests.support.waiting import until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
ROOM = 256 << 10
"""Bytes of a file that there is room for: logs and records are smaller, what does not fit here is larger."""
SMALL, LARGE = 1.0, 20.0
"""Seconds of recordings."""
LARGE_RESULT, RESULT = "turns-8000.wav", "sleep-0.1.wav"


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with running_stack(tmp_path, ENGINE="scripted", STALL_LIMIT="2") as stack:
        yield stack


def submit(stack: Stack, name: str, seconds: float, folder: Path) -> httpx.Response:
    sound = recordings.wav(recordings.tone(seconds), recordings.SAMPLE_RATE, folder / name)
    return httpx.post(f"{stack.url}/api/v1/jobs", files={"audio": (name, sound.read_bytes())}, timeout=60)


def test_what_does_not_fit_is_refused_or_kept_until_it_fits(stack: Stack, tmp_path: Path):
    with stack.client() as client:
        with limits.file_size(ROOM, *(process.pid for process in stack.processes())):
            refused = submit(stack, "refused.wav", LARGE, tmp_path)
            stuck, beside = (
                submit(stack, name, SMALL, tmp_path).raise_for_status().json()["id"] for name in (LARGE_RESULT, RESULT)
            )
            *_, ended = client.wait(beside, timeout=60)
            assert ended.state is JobState.SUCCEEDED
            until(lambda: progress(stack) == STANDS_STILL, 60)
            assert not client.job(stuck).state.ended
        assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")

        *_, ended = client.wait(stuck, timeout=60)
        assert ended.state is JobState.SUCCEEDED, ended.error
        until(lambda: progress(stack) == GETS_ON, 60)
        result = httpx.get(f"{stack.url}/api/v1/jobs/{stuck}/result").raise_for_status()
        assert len(result.content) > ROOM
        assert {job.id for job in client.jobs()} == {stuck, beside}
    until(lambda: not any((stack.data_dir / "objects" / "pending").rglob("live")), 60)
    assert stack.event_ids().keys() == {f"{stuck}/live", f"{beside}/live"}

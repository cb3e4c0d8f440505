"""The helpers that look into recordings."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from producer_api import probing
from producer_api.probing import Prober
from schemas.errors import AudioFormatRefused, Busy
from tests.support.api import until


def _where(path: str) -> tuple[int, list[str], str]:
    return os.getpid(), list(map(str, Path().iterdir())), path


def _refuse(path: str) -> None:
    raise AudioFormatRefused("a playlist")


@pytest.fixture
def helpers(request):
    prober = Prober(request.param)
    yield prober
    prober.close()


@pytest.mark.parametrize("helpers", [_where], indirect=True)
async def test_a_helper_is_another_process_in_an_empty_directory(helpers, tmp_path):
    pid, files, path = await helpers.probe(tmp_path / "a.wav")
    assert pid != os.getpid()
    assert files == []
    assert Path(path).is_absolute()


@pytest.mark.parametrize("helpers", [_where], indirect=True)
async def test_a_helper_that_is_killed_while_idle_is_replaced(helpers, tmp_path):
    pid, *_ = await helpers.probe(tmp_path)
    os.kill(pid, signal.SIGKILL)
    pids = {(await helpers.probe(tmp_path))[0] for _ in range(5)}
    assert pids - {pid}


@pytest.mark.parametrize("helpers", [_refuse], indirect=True)
async def test_what_a_helper_says_of_a_recording_comes_over(helpers, tmp_path):
    with pytest.raises(AudioFormatRefused, match="a playlist"):
        await helpers.probe(tmp_path)


def _block(path: str) -> None:
    while Path(path).exists():
        pass


@pytest.mark.parametrize("helpers", [_block], indirect=True)
async def test_recordings_do_not_wait_for_ever(helpers, tmp_path, monkeypatch):
    gate = tmp_path / "gate"
    gate.touch()
    busy = [asyncio.create_task(helpers.probe(gate)) for _ in range(probing.HELPERS)]
    await asyncio.sleep(0)
    monkeypatch.setattr(probing, "QUEUE_TIMEOUT", 0.05)
    with pytest.raises(Busy):
        await helpers.probe(gate)
    gate.unlink()
    await until(lambda: all(task.done() for task in busy))
    await asyncio.gather(*busy)

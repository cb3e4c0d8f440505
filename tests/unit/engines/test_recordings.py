"""The recordings of all open jobs stay within one budget."""

import tempfile
from pathlib import Path

import pytest

from processor.engines.recordings import Recordings
from schemas.jobs import AudioInfo
from tests.support.recordings import SAMPLE_RATE, tone, wav
from tests.support.worker import new_job
from turnstream.object_store import connect
from turnstream.records import Records
from turnstream.settings import Settings

PLACES = 4
"""Two jobs of each of the two models that listen, of which one model's are parked."""


@pytest.mark.parametrize(("share", "spooled"), [(0.9, 0), (1.1, PLACES)])
def test_jobs_of_every_model_share_the_memory(
    share: float, spooled: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seconds = 2.0
    size = int(seconds * SAMPLE_RATE * 4)
    settings = Settings(data_dir=tmp_path, diarization_max_batch_size=2, waveform_memory=int(PLACES * size / share))
    files: list[str] = []
    real = tempfile.TemporaryFile

    def noted(*args, **kwargs):
        files.append(kwargs.get("prefix") or "")
        return real(*args, **kwargs)

    monkeypatch.setattr(tempfile, "TemporaryFile", noted)
    path = wav(tone(seconds), SAMPLE_RATE, tmp_path / "tone.wav")
    info = AudioInfo(size=path.stat().st_size, sha256="0" * 64)
    job = new_job().model_copy(update={"audio": info})
    with path.open("rb") as audio:
        Records(connect(settings)).create(job, audio)
    recordings = Recordings(settings)
    waveforms = [recordings.waveform(job, lambda: False, lambda share: None) for _ in range(PLACES)]
    assert [len(waveform.samples) for waveform in waveforms] == [seconds * SAMPLE_RATE] * PLACES
    assert files.count("waveform-") == spooled
    for waveform in waveforms:
        waveform.close()

"""Recordings on their way from the object store: within one budget, and whole or not at all."""

import errno
import os
import tempfile
from pathlib import Path

import pytest

from processor import audio
from processor.engines.recordings import Recordings
from schemas.errors import StoreUnavailable
from schemas.jobs import AudioInfo, Job
from tests.support import limits
from tests.support.recordings import SAMPLE_RATE, tone, wav
from tests.support.worker import new_job
from turnstream.object_store import connect
from turnstream.records import Records
from turnstream.settings import Settings

PLACES = 4
"""Two jobs of each of the two models that listen, of which one model's are parked."""


def stored(settings: Settings, seconds: float) -> Job:
    """A job with a recording."""
    path = wav(tone(seconds), SAMPLE_RATE, settings.data_dir / "tone.wav")
    info = AudioInfo(size=path.stat().st_size, sha256="0" * 64)
    job = new_job().model_copy(update={"audio": info})
    with path.open("rb") as file:
        Records(connect(settings)).create(job, file)
    return job


def fetched(recordings: Recordings, job: Job) -> audio.Waveform:
    return recordings.waveform(job, lambda: False, lambda share: None)


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
    job = stored(settings, seconds)
    recordings = Recordings(settings)
    waveforms = [fetched(recordings, job) for _ in range(PLACES)]
    assert [len(waveform.samples) for waveform in waveforms] == [seconds * SAMPLE_RATE] * PLACES
    assert files.count("waveform-") == spooled
    for waveform in waveforms:
        waveform.close()


# Disks that fail


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, waveform_memory=0)


@pytest.fixture
def job(settings: Settings) -> Job:
    return stored(settings, seconds=20)


def test_a_disk_that_is_full_is_not_the_recordings_fault(settings: Settings, job: Job):
    with limits.file_size(1 << 20), pytest.raises(StoreUnavailable, match="DATA_DIR"):
        fetched(Recordings(settings), job)
    assert fetched(Recordings(settings), job).duration == 20


def test_a_spool_directory_that_cannot_be_made_is_said(settings: Settings, job: Job):
    settings.spool_dir.write_bytes(b"in the way")
    with pytest.raises(StoreUnavailable, match="DATA_DIR"):
        fetched(Recordings(settings), job)


def test_a_disk_that_cannot_be_read_is_not_the_recordings_fault(
    settings: Settings, job: Job, monkeypatch: pytest.MonkeyPatch
):
    decode = audio.decode

    def on_a_bad_sector(file, *others):
        class Bad:
            seek, tell = file.seek, file.tell

            def read(self, size: int) -> bytes:
                if file.tell() > 1 << 18:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                return file.read(size)

        return decode(Bad(), *others)

    monkeypatch.setattr(audio, "decode", on_a_bad_sector)
    with pytest.raises(StoreUnavailable, match=r"Input/output error.*DATA_DIR"):
        fetched(Recordings(settings), job)


def test_half_a_recording_is_not_taken_for_one(settings: Settings, job: Job):
    path = connect(settings).local_path(f"jobs/{job.id}/audio")
    assert path is not None
    os.truncate(path, 300_000)
    with pytest.raises(StoreUnavailable, match="has 300000 bytes in the object store"):
        fetched(Recordings(settings), job)

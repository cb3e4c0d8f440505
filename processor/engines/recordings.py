"""The recordings of jobs as waveforms, fetched from the object store and decoded once; and what is kept of them there."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from os import SEEK_END
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from processor.engines.base import Cancelled, Tell
from schemas.errors import StoreUnavailable
from schemas.jobs import Job
from turnstream.disk import unavailable
from turnstream.object_store import connect
from turnstream.operations import installed
from turnstream.records import Records
from turnstream.settings import Settings

if TYPE_CHECKING:
    from processor.audio import Waveform


class Recordings:
    """Those of the object store that the settings name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._records: Records | None = None
        self._lock = threading.Lock()
        # Each open job has the same share, so that all of them together stay within the budget: those of every model,
        # since parked ones keep their recordings.
        listening = {model for each in installed().values() if each.audio for model in each.models}
        self._budget = settings.waveform_memory // (settings.diarization_max_batch_size * len(listening))

    def waveform(self, job: Job, cancelled: Cancelled, tell: Tell) -> "Waveform":
        """Raises an AudioError, StoreUnavailable, JobNotFound, and JobCancelled once `cancelled` says so."""
        from processor.audio import decode  # imports torch, which not every engine needs

        with self._fetched(job) as file:
            return decode(file, self._spool_dir, self._budget, self._settings.max_audio_seconds, cancelled, tell)

    def channels(self, job: Job, cancelled: Cancelled, tell: Tell) -> "list[Waveform]":
        """Raises also InvalidRequest, where there are too many."""
        from processor.audio import split

        with self._fetched(job) as file:
            return split(file, self._spool_dir, self._budget, self._settings.max_audio_seconds, cancelled, tell)

    def analysis(self, job: Job, fingerprint: str) -> bytes | None:
        """Raises StoreUnavailable."""
        return self._store().analysis(job.id, fingerprint)

    def keep_analysis(self, job: Job, fingerprint: str, data: bytes) -> None:
        """Raises StoreUnavailable."""
        self._store().keep_analysis(job.id, fingerprint, data)

    @contextmanager
    def _fetched(self, job: Job) -> Generator[BinaryIO]:
        """What the disk fails with is the disk's, whoever of those who decode meets it; the recording is not at fault."""
        try:
            self._spool_dir.mkdir(parents=True, exist_ok=True)
            with self._store().audio(job.id, self._spool_dir) as file:
                _require_whole(file, job)
                yield file
        except OSError as error:
            raise unavailable("recordings are fetched and decoded", self._settings.data_dir, error) from error

    @property
    def _spool_dir(self) -> Path:
        return self._settings.spool_dir

    def _store(self) -> Records:
        with self._lock:  # the first to come connects; a store that is away is tried again by the next
            if self._records is None:
                self._records = Records(connect(self._settings))
            return self._records


def _require_whole(file: BinaryIO, job: Job) -> None:
    """Whatever befell the store meanwhile: a part would be taken for a recording that is damaged, or just shorter."""
    size = file.seek(0, SEEK_END)
    file.seek(0)
    if job.audio is not None and size != job.audio.size:
        raise StoreUnavailable(f"The recording has {size} bytes in the object store; {job.audio.size} were uploaded")

"""The recording of a job as a waveform: fetched from the object store, decoded once."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from schemas.jobs import Job
from turnstream.object_store import connect
from turnstream.operations import installed
from turnstream.records import Records
from turnstream.settings import Settings

if TYPE_CHECKING:
    from processor.audio import Waveform

Cancelled = Callable[[], bool]


class Recordings:
    """Used from several threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._records: Records | None = None
        self._lock = threading.Lock()
        # Each open job has the same share, so that all of them together stay within the budget: those of every model,
        # since parked ones keep their recordings.
        listening = {model for each in installed().values() if each.audio for model in each.models}
        self._budget = settings.waveform_memory // (settings.diarization_max_batch_size * len(listening))

    def waveform(self, job: Job, cancelled: Cancelled) -> "Waveform":
        """Raises an AudioError, StoreUnavailable, JobNotFound, and JobCancelled once `cancelled` says so."""
        from processor.audio import decode  # imports torch, which not every engine needs

        spool_dir = self._settings.spool_dir
        spool_dir.mkdir(parents=True, exist_ok=True)
        with self._store().audio(job.id, spool_dir) as file:
            return decode(file, spool_dir, self._budget, self._settings.max_audio_seconds, cancelled)

    def _store(self) -> Records:
        with self._lock:  # the first to come connects; a store that is away is tried again by the next
            if self._records is None:
                self._records = Records(connect(self._settings))
            return self._records

"""The engine's public twin: it computes nothing, and does what the name of the uploaded file says.

ENGINE=scripted runs all of Turnstream without a model, for tests of whatever stands around it:

    sleep-2.5.wav    takes 2.5 seconds, with progress
    load-2.5.wav     the same, as if its model was being loaded; nothing else is done meanwhile
    error.wav        fails with engine_failed
    memory.wav       fails with engine_out_of_memory
    crash.wav        kills the engine process
    hang.wav         never returns from the step
    anything else    succeeds at the first step

Only the beginning of the name counts. A job that succeeds has one turn, of SPEAKER_00 from 0.0 to 1.0.
"""

import os
import re
import signal
import time
from dataclasses import dataclass
from typing import Any, NoReturn

from processor.engines.base import Engine, Failed, Finished, JobTask, Outcome, Progressed
from schemas.errors import EngineFailed, EngineOutOfMemory
from schemas.jobs import Progress

Id = tuple[str, str]

TICK = 0.02
"""Seconds a step takes while no job is due."""
TELL = 0.25
"""Seconds between two progress outcomes of a job."""
_SECONDS = re.compile(r"(?:sleep|load)-(\d+(?:\.\d+)?)")


@dataclass
class _OpenJob:
    task: JobTask
    opened: float
    told: float = 0.0

    @property
    def name(self) -> str:
        return self.task.job.audio.filename or ""

    @property
    def seconds(self) -> float:
        match = _SECONDS.match(self.name)
        return float(match[1]) if match else 0.0

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.opened


class ScriptedEngine(Engine):
    def __init__(self) -> None:
        self._jobs: dict[Id, _OpenJob] = {}
        self._loading = False

    def open(self, task: JobTask) -> None:
        job = self._jobs[task.id] = _OpenJob(task, time.monotonic())
        self._loading = self._loading or job.name.startswith("load")

    def step(self) -> list[Outcome]:
        outcomes = [outcome for job in list(self._jobs.values()) if (outcome := self._advance(job)) is not None]
        self._loading = False
        if not outcomes:
            time.sleep(TICK)
        return outcomes

    def cancel(self, id: Id) -> None:
        self._jobs.pop(id, None)

    def close(self) -> None:
        self._jobs.clear()

    @property
    def open_jobs(self) -> int:
        return len(self._jobs)

    @property
    def loading(self) -> bool:
        return self._loading

    def _advance(self, job: _OpenJob) -> Outcome | None:
        if job.name.startswith("crash"):
            os.kill(os.getpid(), signal.SIGKILL)
        if job.name.startswith("hang"):
            _hang()
        if job.name.startswith("load"):
            time.sleep(job.seconds)
        if job.elapsed < job.seconds:
            return _progress(job)
        del self._jobs[job.task.id]
        if job.name.startswith("error"):
            return Failed(job.task.id, EngineFailed("The file's name asked for an error").info)
        if job.name.startswith("memory"):
            return Failed(job.task.id, EngineOutOfMemory().info)
        return Finished(job.task.id, _result(job))


def _progress(job: _OpenJob) -> Outcome | None:
    now = time.monotonic()
    if now - job.told < TELL:
        return None
    job.told = now
    left = max(0.0, job.seconds - job.elapsed)
    progress = Progress(stage="segmentation", fraction=round(1 - left / job.seconds, 4), eta=round(left, 1))
    return Progressed(job.task.id, progress)


def _hang() -> NoReturn:
    while True:
        time.sleep(3600)


def _result(job: _OpenJob) -> dict[str, Any]:
    segments = [{"speaker": "SPEAKER_00", "start": 0.0, "end": 1.0}]
    elapsed = round(job.elapsed, 3)
    audio = job.task.job.audio
    return {
        "segments": segments,
        "exclusive_segments": segments,
        "num_speakers": 1,
        "speakers": ["SPEAKER_00"],
        "performance": elapsed,
        "timings": {"decode": 0, "load": 0, "segmentation": elapsed, "embedding": 0, "clustering": 0, "total": elapsed},
        "warnings": [],
        "audio": {"duration": audio.duration or 1.0, "sha256": audio.sha256, "sample_rate": 16000, "channels": 1},
        "model": {"name": "scripted", "source": "directory", "mode": "exact", "device": "cpu", "revision": "none"},
    }

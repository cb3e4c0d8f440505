"""The engines' public twin: it computes nothing, and does what the name of the uploaded file says.

ENGINE=scripted runs all of Turnstream without a model, for tests of whatever stands around it:

    sleep-2.5.wav    takes 2.5 seconds with its model there, and tells its progress
    load-2.5.wav     the same, as if something was being loaded; nothing else is done meanwhile
    error.wav        fails with engine_failed
    memory.wav       fails with engine_out_of_memory
    allocate.wav     takes memory until there is no more, and fails with engine_out_of_memory
    fetch-2.5.wav    takes 2.5 seconds, and fails where the object store does not answer then
    crash.wav        kills the engine process, as the system does where memory is short
    segfault.wav     lets it die of a bad pointer
    hang.wav         never returns from the step
    turns-4000.wav   succeeds with that many segments, the example's again and again: a result too large for an event
    gil-2.5.wav      returns after 2.5 seconds in which no other thread of the process can run; gil.wav never does
    anything else    succeeds at the first step

Only the beginning of the name counts. A job that succeeds has the example of its operation as its result. The model of
each operation is a block of SCRIPTED_MODEL_BYTES that takes SCRIPTED_LOAD_SECONDS to load, so that swaps cost something.
Whatever ends is noted in SCRIPTED_LOG, a line each: job id, run, model, when it began and ended (seconds since 1970), process.
"""

import ctypes
import math
import os
import re
import resource
import signal
import time
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from processor.engines import failures
from processor.engines.base import Engine, EngineContext, Failed, Finished, JobTask, Outcome, Progressed, Urgency
from processor.model_manager import ModelSource
from schemas.errors import EngineFailed, EngineOutOfMemory, TurnstreamError
from schemas.jobs import JobKey, Lane, Progress
from schemas.operation import Operation
from turnstream.settings import MiB, Settings

TICK = 0.02
"""Seconds a step takes while no job is due."""
TELL = 0.25
"""Seconds between two progress outcomes of a job."""
ALLOCATED, _BLOCK = 256 * MiB, 16 * MiB
"""Bytes that allocate.wav gets before the memory counts as exhausted: of this process, not of the machine."""
_SECONDS = re.compile(r"(?:sleep|load|fetch|gil)-(\d+(?:\.\d+)?)")
_SEGMENTS = re.compile(r"turns-(\d+)")
_FOR_EVER = 1 << 30  # seconds


@dataclass
class _OpenJob:
    task: JobTask
    opened: float
    elapsed: float = 0.0
    """Seconds that its model was there."""
    seen: float | None = None
    """When it was last advanced; None before the first time, and while it is parked."""
    told: float = 0.0
    began: float = 0.0
    """Seconds since 1970."""

    @property
    def name(self) -> str:
        audio = self.task.job.audio
        return (audio.filename if audio else None) or ""

    @property
    def seconds(self) -> float:
        match = _SECONDS.match(self.name)
        return float(match[1]) if match else 0.0

    @property
    def urgency(self) -> Urgency:
        return self.task.job.lane is Lane.BATCH, self.opened

    def pass_time(self) -> None:
        now = time.monotonic()
        self.began = self.began or time.time()
        self.elapsed += now - (self.seen or now)
        self.seen = now


class ScriptedEngine(Engine):
    def __init__(self, operation: Operation, context: EngineContext) -> None:
        self._operation = operation
        self._models, self._recordings = context.models, context.recordings
        self._jobs: dict[JobKey, _OpenJob] = {}
        self._silent = False
        settings = context.settings
        self._log = settings.scripted_log
        self._models.register(ModelSource(operation.name, lambda: _model(settings), size=settings.scripted_model_bytes))

    def open(self, task: JobTask) -> None:
        job = self._jobs[task.id] = _OpenJob(task, time.monotonic())
        self._silent = self._silent or job.name.startswith("load")

    def settle(self) -> list[Outcome]:
        return []

    def step(self) -> list[Outcome]:
        try:
            model = self._models.get(self._operation.name)
        except TurnstreamError as error:
            failed: list[Outcome] = [Failed(id, error.info) for id in self._jobs]
            self._jobs.clear()
            return failed
        if model is None:
            return []
        outcomes = [outcome for job in list(self._jobs.values()) if (outcome := self._advance(job)) is not None]
        self._silent = False
        if not outcomes:
            time.sleep(TICK)  # the pass
        return outcomes

    def cancel(self, id: JobKey) -> None:
        self._jobs.pop(id, None)

    def park(self) -> None:
        for job in self._jobs.values():
            job.seen = None

    def close(self) -> None:
        self._jobs.clear()

    @property
    def urgency(self) -> Urgency | None:
        return min((job.urgency for job in self._jobs.values()), default=None)

    @property
    def open_jobs(self) -> int:
        return len(self._jobs)

    @property
    def silent(self) -> bool:
        return self._silent

    def _advance(self, job: _OpenJob) -> Outcome | None:
        _misbehave(job)
        job.pass_time()
        if job.name.startswith("load"):
            time.sleep(job.seconds)
            job.pass_time()
        if job.elapsed < job.seconds:
            return _progress(job)
        del self._jobs[job.task.id]
        if self._log is not None:
            _note(job, self._log)
        try:
            self._compute(job)
        except Exception as error:
            return Failed(job.task.id, failures.info(error))
        return Finished(job.task.id, _result(job, self._operation))

    def _compute(self, job: _OpenJob) -> None:
        if job.name.startswith("error"):
            raise EngineFailed("The file's name asked for an error")
        if job.name.startswith("memory"):
            raise EngineOutOfMemory
        if job.name.startswith("allocate"):
            _allocate()
        if job.name.startswith("fetch"):
            self._recordings.analysis(job.task.job, "scripted")


def _misbehave(job: _OpenJob) -> None:
    if job.name.startswith("crash"):
        os.kill(os.getpid(), signal.SIGKILL)
    if job.name.startswith("segfault"):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # its memory is of no interest
        ctypes.string_at(0)
    if job.name.startswith("hang"):
        time.sleep(_FOR_EVER)
    if job.name.startswith("gil"):
        job.pass_time()
        ctypes.PyDLL(None).sleep(math.ceil(job.seconds) or _FOR_EVER)  # unlike CDLL it does not let go of the lock


def _allocate() -> None:
    """Raises MemoryError, as the system refuses what is beyond ALLOCATED bytes."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ALLOCATED, before[1]))
    taken: list[bytearray] = []
    try:
        while len(taken) * _BLOCK < 4 * ALLOCATED:  # some of it may come from what was reserved before
            taken.append(bytearray(_BLOCK))
    finally:
        taken.clear()
        resource.setrlimit(resource.RLIMIT_AS, before)


def _model(settings: Settings) -> bytearray:
    time.sleep(settings.scripted_load_seconds)
    return bytearray(b"\1") * settings.scripted_model_bytes  # written to, so that it does take memory


def _progress(job: _OpenJob) -> Outcome | None:
    now = time.monotonic()
    if now - job.told < TELL:
        return None
    job.told = now
    left = max(0.0, job.seconds - job.elapsed)
    progress = Progress(stage="computing", fraction=round(1 - left / job.seconds, 4), eta=round(left, 1))
    return Progressed(job.task.id, progress)


def _note(job: _OpenJob, log: Path) -> None:
    line = f"{job.task.job.id} {job.task.run} {job.task.model} {job.began:.3f} {time.time():.3f} {os.getpid()}\n"
    with log.open("a") as out:  # one small write to the end of the file: lines of several processes do not mix
        out.write(line)


def _result(job: _OpenJob, operation: Operation) -> dict[str, Any]:
    """The example, with what is true of this job where the example tells such things."""
    result, elapsed, audio = dict(operation.example), round(job.elapsed, 3), job.task.job.audio
    if match := _SEGMENTS.match(job.name):
        result["segments"] = list(islice(cycle(result["segments"]), int(match[1])))
    if "performance" in result:
        result["performance"] = elapsed
    if "timings" in result:
        result["timings"] = {**dict.fromkeys(result["timings"], 0.0), "total": elapsed}
    if "audio" in result and audio is not None:
        result["audio"] = {**result["audio"], "sha256": audio.sha256, "duration": audio.duration or 1.0}
    if "model" in result:
        result["model"] = {**result["model"], "name": "scripted", "source": "directory", "revision": "none"}
    return result

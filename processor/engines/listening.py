"""What engines that listen to recordings have in common: decoding aside, progress, the ends of jobs."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from pydantic import ValidationError

from processor.engines import failures
from processor.engines.base import Engine, Failed, JobTask, Outcome, Progressed, Urgency
from processor.engines.decoding import Decoders, Decoding
from schemas.errors import EngineFailed
from schemas.jobs import JobKey, Progress

TELL = 1.0
"""Seconds between two progress outcomes of a job."""

Decoded = TypeVar("Decoded")


class ListeningJob(Protocol):
    """An open job. It is made of a JobTask, and raises a ValidationError where the parameters do not fit."""

    task: JobTask
    urgency: Urgency
    told: float
    """When progress was last told, on the monotonic clock."""

    def decoded(self, decoding: Decoding[Any]) -> None:
        """Raises what the decoding raised."""
        ...

    def progress(self) -> Progress: ...
    def release(self) -> None:
        """Let go of the recording."""
        ...


Job = TypeVar("Job", bound=ListeningJob)


class ListeningEngine(Engine, Generic[Job, Decoded]):
    def __init__(self, make: Callable[[JobTask], Job], decoders: Decoders[Decoded]) -> None:
        self._make, self._decoders = make, decoders
        self._jobs: dict[JobKey, Job] = {}
        self._outcomes: list[Outcome] = []

    # The port

    def open(self, task: JobTask) -> None:
        self.cancel(task.id)  # a job that is opened anew starts anew
        try:
            job = self._make(task)
        except ValidationError as error:
            reason = f"The parameters do not fit: {error.error_count()} of them are wrong"
            self._outcomes.append(Failed(task.id, EngineFailed(reason).info))
            return
        self._jobs[task.id] = job
        self._decoders.add(task, job.urgency)

    def cancel(self, id: JobKey) -> None:
        self._decoders.drop(id)
        job = self._jobs.pop(id, None)
        if job is not None:
            job.release()

    def close(self) -> None:
        for id in list(self._jobs):
            self.cancel(id)
        self._decoders.close()

    @property
    def open_jobs(self) -> int:
        return len(self._jobs)

    # For those who compute

    def _settle_decoding(self) -> None:
        for decoding in self._decoders.ended():
            job = self._jobs[decoding.task.id]
            try:
                job.decoded(decoding)
            except Exception as error:
                self._fail([job], error)

    def _tell_progress(self) -> None:
        now = time.monotonic()
        for id, job in self._jobs.items():
            if now - job.told >= TELL:
                job.told = now
                self._outcomes.append(Progressed(id, job.progress()))

    def _told(self) -> list[Outcome]:
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def _fail(self, jobs: Sequence[Job], error: Exception) -> None:
        for job in jobs:
            self._outcomes.append(Failed(job.task.id, failures.info(error)))
            self.cancel(job.task.id)

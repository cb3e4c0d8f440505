"""The port to an engine: what computes jobs of one operation, a small step at a time."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from schemas.errors import ErrorInfo
from schemas.jobs import Job, Progress


@dataclass(frozen=True, slots=True)
class JobTask:
    """One (job, run) to compute. It crosses into the engine process, which fetches the recording itself."""

    job: Job
    run: str

    @property
    def id(self) -> tuple[str, str]:
        return self.job.id, self.run


@dataclass(frozen=True, slots=True)
class Progressed:
    id: tuple[str, str]
    progress: Progress


@dataclass(frozen=True, slots=True)
class Finished:
    """`result` holds the fields of the operation's result model but `job_id`, `run` and `timings.queue`."""

    id: tuple[str, str]
    result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed:
    id: tuple[str, str]
    error: ErrorInfo


Outcome = Progressed | Finished | Failed


@dataclass(frozen=True, slots=True)
class EngineLost:
    """The engine process died or hung and was replaced: these jobs were open, and one of them may be the cause."""

    ids: tuple[tuple[str, str], ...]
    error: ErrorInfo


class Engine(ABC):
    """Holds several open jobs and advances them together. Used from one thread.

    A job's failure is an outcome, never an exception.
    """

    @abstractmethod
    def open(self, task: JobTask) -> None:
        """Take a job in. Returns at once: loading, fetching and decoding happen later or aside."""

    @abstractmethod
    def step(self) -> list[Outcome]:
        """Advance by one forward pass at most, or wait up to 50 ms for what goes on aside. At most 0.5 s on a CPU."""

    @abstractmethod
    def cancel(self, id: tuple[str, str]) -> None:
        """Drop an open job; it has no further outcome. An unknown id is no error."""

    @abstractmethod
    def close(self) -> None:
        """Drop all jobs and free the models."""

    @property
    @abstractmethod
    def open_jobs(self) -> int: ...

    @property
    def loading(self) -> bool:
        """Whether a model is being loaded: that may take far longer than a step, and is watched by another limit."""
        return False

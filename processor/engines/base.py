"""The port to an engine: what computes jobs of one operation, a small step at a time."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from processor.model_manager import Loaded, ModelManager, Unloaded
from schemas.errors import ErrorInfo
from schemas.jobs import Job, JobKey, Progress
from turnstream.settings import Settings

if TYPE_CHECKING:
    from processor.audio import Waveform  # imports torch, which the worker must not

Cancelled = Callable[[], bool]
"""Says when nobody wants something any more."""
Tell = Callable[[float], None]
"""Is told the share that is done, 0 to 1."""

Urgency = tuple[bool, float]
"""Whether a job is of the batch lane, and when it was opened: the least comes first."""


@dataclass(frozen=True, slots=True)
class JobTask:
    """One stage of a (job, run) to compute. It crosses into the engine process, which fetches the recording itself."""

    job: Job
    run: str
    model: str
    """Whose engine computes it: the name of an operation that has one, and of the model that the engine loads."""
    params: Mapping[str, Any]
    """Those of that operation, as JSON values."""

    @property
    def id(self) -> JobKey:
        return self.job.id, self.run


@dataclass(frozen=True, slots=True)
class Progressed:
    id: JobKey
    progress: Progress


@dataclass(frozen=True, slots=True)
class Finished:
    """`result` holds the fields of the operation's result model but `job_id`, `run` and `timings.queue`."""

    id: JobKey
    result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed:
    id: JobKey
    error: ErrorInfo


Outcome = Progressed | Finished | Failed


@dataclass(frozen=True, slots=True)
class EngineLost:
    """The engine process died or hung and was replaced: these jobs were open, and one of them may be the cause."""

    ids: tuple[JobKey, ...]
    error: ErrorInfo


@dataclass(frozen=True, slots=True)
class ModelsChanged:
    """What is in the memory of the engine process now, and what came and went since this was last said."""

    resident: tuple[str, ...] = ()
    """Models that are loaded, the least recently used one first."""
    fitting: tuple[str, ...] = ()
    """Models that would fit beside them, as far as their size is known."""
    loads: tuple[Loaded, ...] = ()
    unloads: tuple[Unloaded, ...] = ()


@dataclass(frozen=True, slots=True)
class Worked:
    """What the engine process did since this was last told: nothing that anybody waits for."""

    steps: tuple[tuple[str, float], ...] = ()
    """(model, seconds) of each step."""
    passes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """By model: the pieces that forward passes were filled with, and those that they had room for."""
    device: tuple[int, int] | None = None
    """Bytes of the GPU's memory that are in use, and in all; None without one."""


class Account:
    """Where the engines note what they do, until it is told. Used from one thread."""

    def __init__(self) -> None:
        self._steps: list[tuple[str, float]] = []
        self._passes: dict[str, tuple[int, int]] = {}

    def stepped(self, model: str, seconds: float) -> None:
        self._steps.append((model, seconds))

    def passed(self, model: str, pieces: int, room: int) -> None:
        """A forward pass was made that had room for so many pieces."""
        filled, offered = self._passes.get(model, (0, 0))
        self._passes[model] = filled + pieces, offered + room

    def told(self, device: tuple[int, int] | None) -> Worked:
        """All of it, to be forgotten here."""
        worked = Worked(tuple(self._steps), dict(self._passes), device)
        self._steps.clear()
        self._passes.clear()
        return worked


class JobRecordings(Protocol):
    """The recordings of jobs, and what is kept of them. Used from several threads; each call may take long."""

    def waveform(self, job: Job, cancelled: Cancelled, tell: Tell) -> "Waveform":
        """The whole recording, its channels mixed. Raises JobCancelled, and whatever went wrong, out of the tree."""
        ...

    def channels(self, job: Job, cancelled: Cancelled, tell: Tell) -> "list[Waveform]":
        """Each channel by itself."""
        ...

    def analysis(self, job: Job, fingerprint: str) -> bytes | None:
        """What an earlier run kept under this fingerprint, which says what computed it."""
        ...

    def keep_analysis(self, job: Job, fingerprint: str, data: bytes) -> None:
        """For further runs of the job."""
        ...


@dataclass(frozen=True, slots=True)
class EngineContext:
    """What an engine is made with, by the factory that its operation names: `factory(context) -> Engine`."""

    settings: Settings
    models: ModelManager
    """Of all engines: each registers its model under the name of its operation."""
    recordings: JobRecordings
    changed: threading.Event
    """To be set, from any thread, when something aside is done: the hub waits for it when no engine has work."""
    account: Account = field(default_factory=Account)


class Engine(ABC):
    """Holds several open jobs and advances them together. Used from one thread.

    A job's failure is an outcome, never an exception. Nothing here waits: the hub does, for all its engines.
    """

    @abstractmethod
    def open(self, task: JobTask) -> None:
        """Take a job in. Returns at once: loading, fetching and decoding happen later or aside."""

    @abstractmethod
    def settle(self) -> list[Outcome]:
        """Take up what was done aside, and tell progress. Wants no model: it is called for parked engines, too."""

    @abstractmethod
    def step(self) -> list[Outcome]:
        """Advance by one forward pass at most, with the model that `models.get` gives; without it, only have it loaded.

        At most 0.5 s on a CPU. Called by turns, while the model is resident or to be loaded.
        """

    @property
    @abstractmethod
    def urgency(self) -> Urgency | None:
        """Of the most urgent job that a pass would advance; None where all wait for what goes on aside."""

    @abstractmethod
    def cancel(self, id: JobKey) -> None:
        """Drop an open job; it has no further outcome. An unknown id is no error."""

    @abstractmethod
    def park(self) -> None:
        """Let go of the model, which is about to be unloaded. Open jobs stay open, with what they have so far, and go on
        when `step` is called again."""

    @abstractmethod
    def close(self) -> None:
        """Drop all jobs and let go of the model."""

    @property
    @abstractmethod
    def open_jobs(self) -> int: ...

    @property
    def silent(self) -> bool:
        """Whether the next step may take far longer than a step, such as one that loads: it has the limit of a load."""
        return False

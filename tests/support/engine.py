"""What tests of the diarization engine share: its jobs, recordings in memory, and networks that answer at once."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from processor.audio import SAMPLE_RATE, Waveform
from processor.engines.base import (
    Cancelled,
    Engine,
    EngineContext,
    Failed,
    Finished,
    JobRecordings,
    JobTask,
    Outcome,
    Tell,
)
from processor.engines.diarize.analysis import Analysis
from processor.engines.diarize.clustering import Survey, Turn, Turns
from processor.engines.diarize.embedding import WindowEmbedding
from processor.engines.diarize.engine import MODEL, DiarizeEngine
from processor.engines.diarize.passes import Passes
from processor.engines.diarize.pieces import Piece
from processor.engines.diarize.windows import Samples, Windows
from processor.engines.hub import Hub
from processor.model_manager import ModelManager, ModelSource
from schemas.jobs import DiarizeParams, Job, Lane, Mode
from schemas.results import DiarizationResult
from tests.support.worker import new_job
from turnstream.settings import Settings
from turnstream.weights import Source, Weights


def task(lane: Lane = Lane.INTERACTIVE, model: str = "diarize", **params: Any) -> JobTask:
    return JobTask(new_job(lane=lane), "live", model, params)


class RoomyMemory:
    """In the place of a device's: models take what the test says, and there is room for `budget` bytes."""

    def __init__(self, budget: int = 1 << 60) -> None:
        self.budget = budget
        self.taken = 0
        self.given_back = 0

    def used(self) -> int:
        return self.taken

    def give_back(self) -> None:
        self.given_back += 1

    def of_device(self) -> tuple[int, int] | None:
        return None


def context_of(
    recordings: JobRecordings,
    models: Mapping[str, Callable[[], Any]],
    memory: RoomyMemory | None = None,
    **settings: Any,
) -> EngineContext:
    """What the hub would make an engine with. `models` says how each is loaded."""
    changed = threading.Event()
    manager = ModelManager(memory or RoomyMemory(), on_change=changed.set)
    for name, load in models.items():
        manager.register(ModelSource(name, load, size=0))
    return EngineContext(Settings(**settings), manager, recordings, changed)


def made(recordings: JobRecordings, load: Callable[[], Any], **settings: Any) -> DiarizeEngine:
    """An engine, and what its model is loaded by."""
    return DiarizeEngine(context_of(recordings, {MODEL: load}, **settings))


def run(engine: Engine | Hub, until: Callable[[list[Outcome]], bool]) -> list[Outcome]:
    """Steps until what came out of them will do."""
    seen: list[Outcome] = []
    while not until(seen):
        before = len(seen)
        if isinstance(engine, Engine):
            seen += engine.settle()
        seen += engine.step()
        if len(seen) == before:
            time.sleep(0)  # for the threads aside
    return seen


def ends(seen: Sequence[Outcome]) -> list[Finished | Failed]:
    return [outcome for outcome in seen if isinstance(outcome, Finished | Failed)]


def all_ended(engine: Engine | Hub) -> Callable[[list[Outcome]], bool]:
    return lambda _: engine.open_jobs == 0


def result_of(finished: Finished | Failed) -> DiarizationResult:
    """As the worker completes it."""
    assert isinstance(finished, Finished), finished.error
    job_id, run = finished.id
    timings = {**finished.result["timings"], "queue": 0}
    return DiarizationResult.model_validate({**finished.result, "job_id": job_id, "run": run, "timings": timings})


def computed(engine: Engine, job: JobTask) -> DiarizationResult:
    """Of a job that is open alone."""
    engine.open(job)
    [end] = ends(run(engine, all_ended(engine)))
    return result_of(end)


def again(job: JobTask, **params: object) -> JobTask:
    """A further run."""
    return replace(job, run="run-2", params={**job.params, **params})


def said(result: DiarizationResult) -> dict[str, object]:
    """All but what each run has of its own."""
    return result.model_dump(exclude={"run", "performance", "timings"})


def waveform(samples: Samples) -> Waveform:
    return Waveform(samples, source_rate=SAMPLE_RATE, source_channels=1)


@dataclass
class Shelf:
    """In the place of the object store: recordings by job, and what is kept of them."""

    samples: dict[str, Samples] = field(default_factory=dict)
    """One-dimensional, or (channels, samples)."""
    asked: list[str] = field(default_factory=list)
    kept: dict[tuple[str, str], bytes] = field(default_factory=dict)
    """By job and fingerprint."""

    def put(self, task: JobTask, samples: Samples) -> JobTask:
        self.samples[task.job.id] = samples
        return task

    def recording(self, job: Job, cancelled: Callable[[], bool]) -> Waveform:
        """What tests put something else in the place of."""
        self.asked.append(job.id)
        return waveform(np.atleast_2d(self.samples[job.id])[0])

    def waveform(self, job: Job, cancelled: Cancelled, tell: Tell) -> Waveform:
        return self.recording(job, cancelled)

    def channels(self, job: Job, cancelled: Cancelled, tell: Tell) -> list[Waveform]:
        self.asked.append(job.id)
        channels = np.atleast_2d(self.samples[job.id])
        return [Waveform(each, SAMPLE_RATE, len(channels)) for each in channels]

    def analysis(self, job: Job, fingerprint: str) -> bytes | None:
        return self.kept.get((job.id, fingerprint))

    def keep_analysis(self, job: Job, fingerprint: str, data: bytes) -> None:
        self.kept[job.id, fingerprint] = data


def shelf_of(recording: Callable[[Job, Cancelled], Waveform]) -> Shelf:
    """One that gets its recordings there."""
    shelf = Shelf()
    shelf.recording = recording
    return shelf


# A model that answers at once. Its windows are ten samples; one whose first sample is positive is spoken.

SIZE, STEP, FRAMES, SPEAKERS, DIMENSION = 10, 5, 4, 3, 8


class QuickModel:
    """In the place of DiarizationModel: notes each pass, and fails on a sample of BAD."""

    BAD = 99.0
    weights = Weights(Path(), "quick", Source.DIRECTORY, "none")
    device = "cpu"

    def __init__(self) -> None:
        self.passes: list[tuple[str, list[float]]] = []
        self.segmenter = _QuickSegmenter(self.passes)
        self.embedders = {mode: _QuickEmbedder(self.passes, mode) for mode in Mode}
        self.clustering = QuickClustering()

    def windows(self, samples: Samples) -> Windows:
        return Windows(samples, SIZE, STEP)

    def blank(self, windows: int) -> Analysis:
        return Analysis.blank(windows, FRAMES, SPEAKERS, DIMENSION)

    def embedding(
        self, mode: Mode, windows: Windows, analysis: Analysis, only: np.ndarray | None = None
    ) -> WindowEmbedding:
        return _QUICK[mode](windows, analysis, np.transpose, only)


class _QuickFast(WindowEmbedding):
    mode = Mode.FAST


_QUICK = {Mode.EXACT: WindowEmbedding, Mode.FAST: _QuickFast}


class QuickClustering:
    """In the place of the pipeline without its networks. Takes what was embedded fast for `risky`, if it is to, and the
    windows named `doubtful` for such."""

    risky = False
    doubtful: Sequence[int] = ()

    def turns(self, analysis: Analysis, params: DiarizeParams, cancelled: Callable[[], None]) -> Turns:
        """One turn for each window that was embedded, of a speaker named by what the embedding said."""
        spoken = [(i, int(analysis.vectors[i, 0, 0])) for i, seen in enumerate(analysis.activity) if seen.any()]
        turns = [Turn(f"S{value}", i, i + 1) for i, value in spoken]
        speakers = sorted({turn.speaker for turn in turns})
        if params.num_speakers:
            speakers = speakers[: params.num_speakers]
        return Turns(
            [turn for turn in turns if turn.speaker in speakers],
            [turn for turn in turns if turn.speaker in speakers],
            speakers,
            embeddings=np.full((len(speakers), DIMENSION), 0.5, np.float32),
        )

    def survey(self, analysis: Analysis, cancelled: Callable[[], None]) -> Survey:
        return Survey(self.risky, np.array(self.doubtful, dtype=np.int64))


class _QuickSegmenter(Passes):
    """Hears all speakers in all frames of a window, or nobody."""

    def __init__(self, passes: list[tuple[str, list[float]]]) -> None:
        super().__init__(room=8)
        self.passes = passes

    def __call__(self, windows: Sequence[Samples]) -> tuple[Any, Any]:
        noted(self.passes, "segmentation", windows)
        spoken = np.array([window[0] > 0 for window in windows], np.uint8)
        return np.broadcast_to(spoken[:, None, None], (len(windows), FRAMES, SPEAKERS)), np.zeros(len(windows), int)


class _QuickEmbedder(Passes):
    """A window's voice prints are its first sample; fast ones are ten times that."""

    def __init__(self, passes: list[tuple[str, list[float]]], mode: Mode) -> None:
        super().__init__(room=2)
        self.passes, self._mode = passes, mode

    def __call__(self, pieces: Sequence[Piece]) -> Any:
        exact = self._mode is Mode.EXACT
        noted(self.passes, "embedding" if exact else "fast", [piece.samples for piece in pieces])
        return np.stack([np.full((SPEAKERS, DIMENSION), piece.samples[0] * (1 if exact else 10)) for piece in pieces])


def noted(passes: list[tuple[str, list[float]]], name: str, windows: Sequence[Samples]) -> None:
    passes.append((name, [float(window[0]) for window in windows]))
    if any(QuickModel.BAD in window for window in windows):
        raise ValueError("the networks do not like this")


def spoken(value: float, windows: int) -> Samples:
    """A recording of so many windows, recognisable by its samples."""
    return np.full(SIZE + STEP * (windows - 1), value, np.float32)


def conversation() -> np.ndarray:
    """Two voices and a pause."""
    return np.concatenate([spoken(3, windows=4), spoken(0, windows=3), spoken(5, windows=4)])

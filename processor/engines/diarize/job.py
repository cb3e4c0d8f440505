"""One open job of the diarization engine: its arrays, and how far it has come."""

import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from processor.audio import Waveform
from processor.engines.base import JobTask
from processor.engines.diarize.clustering import Turn, Turns
from processor.engines.diarize.embedding import Array
from processor.engines.diarize.model import DiarizationModel
from processor.engines.diarize.windows import Samples, Windows
from schemas.jobs import Lane, Progress


class Stage(StrEnum):
    DECODE = "decode"
    LOAD = "load"
    SEGMENTATION = "segmentation"
    EMBEDDING = "embedding"
    CLUSTERING = "clustering"


# What a window costs in the one network and in the other, for telling progress only.
_SEGMENTATION_COST, _EMBEDDING_COST = 1, 9
_BEFORE_CLUSTERING = 0.99


@dataclass(frozen=True, slots=True)
class Slot:
    """A window's place in a pass."""

    job: "OpenJob"
    index: int
    window: Samples
    masks: Array | None = None


class OpenJob:
    """Used from the engine's thread. Others look at `cancelled` and write the seconds that they `spent`."""

    def __init__(self, task: JobTask, number: int) -> None:
        self.task = task
        self.urgency = (task.job.lane is not Lane.INTERACTIVE, number)
        """Jobs are served in this order: interactive ones first, older ones first."""
        self.cancelled = threading.Event()
        self.opened = time.monotonic()
        self.stage = Stage.DECODE
        self.spent = dict.fromkeys(Stage, 0.0)
        """Seconds by stage; a pass that several jobs share counts in full for each."""
        self.told = 0.0
        """When progress was last told, on the monotonic clock."""
        self.decoding: Future[Waveform] | None = None
        self.clustering: Future[Turns] | None = None
        self._waveform: Waveform | None = None
        self._model: DiarizationModel | None = None
        self._windows: Windows | None = None
        self._speaking: deque[tuple[int, Array]] = deque()
        self._segmented = self._embedded = 0
        self._duration = self._since = 0.0

    # The way through the stages

    def decoded(self, waveform: Waveform) -> None:
        self._waveform, self._duration = waveform, waveform.duration
        self.stage, self._since = Stage.LOAD, time.monotonic()

    def begin(self, model: DiarizationModel) -> None:
        """The model is there: make room for what the networks will say."""
        assert self._waveform is not None  # noqa: S101 - only a decoded job waits for the model
        self._model, self._windows = model, model.windows(self._waveform.samples)
        shape = (len(self._windows), model.segmenter.frames, model.segmenter.speakers)
        self.activity = np.empty(shape, dtype=np.float32)
        self.vectors = model.embedder.blank(len(self._windows))
        now = time.monotonic()
        self.spent[Stage.LOAD] = now - self._since
        self.stage, self._since = Stage.SEGMENTATION, now

    def slots(self, stage: Stage, room: int) -> list[Slot]:
        """The windows that want a pass of this kind next, in their order, `room` at most."""
        windows = self._windows
        if windows is None:
            return []
        if stage is Stage.SEGMENTATION:
            end = min(self._segmented + room, len(windows))
            return [Slot(self, i, windows[i]) for i in range(self._segmented, end)]
        return [Slot(self, i, windows[i], masks) for i, masks in list(self._speaking)[:room]]

    def take(self, stage: Stage, index: int, value: Array) -> None:
        """What a pass found in a window; windows come back in their order."""
        if stage is Stage.SEGMENTATION:
            self._take_activity(index, value)
        else:
            self.vectors[index] = value
            self._speaking.popleft()
            self._embedded += 1

    def _take_activity(self, index: int, activity: Array) -> None:
        assert self._model is not None  # noqa: S101 - without it there would have been no pass
        self.activity[index] = activity
        self._segmented += 1
        if activity.any():
            self._speaking.append((index, self._model.embedder.masks(activity)))
        else:
            self._embedded += 1  # nobody speaks: there is nothing to embed
        if self._segmented == len(self.activity):
            self.stage = Stage.EMBEDDING

    @property
    def through_networks(self) -> bool:
        return self.stage is Stage.EMBEDDING and self._embedded == len(self.activity)

    def clustered_by(self, clustering: "Future[Turns]") -> None:
        self.stage, self.clustering = Stage.CLUSTERING, clustering
        self.release()

    def release(self) -> None:
        """Let go of the recording, also of one that is still being decoded."""
        self.cancelled.set()
        self._windows = None
        if self.decoding is not None and not self.decoding.cancel():
            self.decoding.add_done_callback(_close)

    # What is told of it

    def progress(self) -> Progress:
        if self._model is None:
            return Progress(stage=self.stage, fraction=0)
        total = len(self.activity) * (_SEGMENTATION_COST + _EMBEDDING_COST)
        done = (self._segmented * _SEGMENTATION_COST + self._embedded * _EMBEDDING_COST) / total
        eta = round((time.monotonic() - self._since) * (1 - done) / done, 1) if done else None
        return Progress(stage=self.stage, fraction=round(done * _BEFORE_CLUSTERING, 4), eta=eta)

    def result(self, turns: Turns) -> dict[str, Any]:
        """The fields of DiarizationResult but `job_id`, `run` and `timings.queue`."""
        model, waveform = self._model, self._waveform
        assert model is not None and waveform is not None  # noqa: S101 - it was computed from them
        total = round(time.monotonic() - self.opened, 3)
        return {
            "segments": [_segment(turn) for turn in turns.turns],
            "exclusive_segments": [_segment(turn) for turn in turns.exclusive],
            "num_speakers": len(turns.speakers),
            "speakers": turns.speakers,
            "performance": total,
            "timings": {str(stage): round(seconds, 3) for stage, seconds in self.spent.items()} | {"total": total},
            "warnings": [*waveform.warnings, *turns.warnings],
            "audio": {
                "duration": self._duration,
                "sha256": self.task.job.audio.sha256,
                "sample_rate": waveform.source_rate,
                "channels": waveform.source_channels,
            },
            "model": {
                "name": model.weights.name,
                "source": str(model.weights.source),
                "mode": self.task.job.params.mode,
                "device": model.device,
                "revision": model.weights.revision,
            },
        }


def _segment(turn: Turn) -> dict[str, Any]:
    return {"speaker": turn.speaker, "start": turn.start, "end": turn.end}


def _close(decoding: "Future[Waveform]") -> None:
    if not decoding.cancelled() and decoding.exception() is None:
        decoding.result().close()

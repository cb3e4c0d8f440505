"""One open job of the diarization engine: its arrays, and how far it has come."""

import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from enum import StrEnum
from typing import Any

from processor.audio import Waveform
from processor.engines.base import JobTask, Urgency
from processor.engines.decoding import Decoding
from processor.engines.diarize.clustering import Turn, Turns
from processor.engines.diarize.model import DiarizationModel
from processor.engines.diarize.track import SEGMENTATION, Kind, Slot, Track
from schemas.jobs import DiarizeParams, Lane, Mode, Progress


class Stage(StrEnum):
    DECODE = "decode"
    LOAD = "load"
    SEGMENTATION = "segmentation"
    EMBEDDING = "embedding"
    CLUSTERING = "clustering"


# What a window costs in the one network and in the other, for telling progress only.
_SEGMENTATION_COST, _EMBEDDING_COST = 1, 9
_BEFORE_CLUSTERING = 0.99


class OpenJob:
    """Used from the engine's thread, but for the seconds that its clustering `spent`.

    It holds nothing of the model, which may be unloaded at any time and come again.
    """

    def __init__(self, task: JobTask) -> None:
        """Raises a ValidationError where the parameters are none of diarization."""
        self.task = task
        self.params = DiarizeParams.model_validate(task.params)
        self.mode = Mode(self.params.mode or Mode.EXACT)
        self.cancelled = threading.Event()
        self.opened = time.monotonic()
        self.urgency: Urgency = (task.job.lane is Lane.BATCH, self.opened)
        self.stage = Stage.DECODE
        self.spent = dict.fromkeys(Stage, 0.0)
        """Seconds by stage; a pass that several jobs share counts in full for each."""
        self.told = 0.0
        """When progress was last told, on the monotonic clock."""
        self.clustering: Future[Turns] | None = None
        self._waveform: Waveform | None = None
        self._model: dict[str, str] = {}
        """What the result tells of it."""
        self.tracks: list[Track] = []
        self._duration = self._since = 0.0

    # The way through the stages

    def decoded(self, decoding: Decoding[Waveform]) -> None:
        """Raises what the decoding raised."""
        self._waveform = decoding.result()
        self._duration = self._waveform.duration
        self.spent[Stage.DECODE] = decoding.seconds
        self.stage, self._since = Stage.LOAD, time.monotonic()

    def begin(self, model: DiarizationModel) -> None:
        """The model is there: make room for what the networks will say."""
        assert self._waveform is not None  # noqa: S101 - only a decoded job waits for the model
        self._model = {
            "name": model.weights.name,
            "source": str(model.weights.source),
            "mode": str(self.mode),
            "device": model.device,
            "revision": model.weights.revision,
        }
        self.tracks = [Track(self._waveform.samples, self.mode, model)]
        now = time.monotonic()
        self.spent[Stage.LOAD] = now - self._since
        self.stage, self._since = Stage.SEGMENTATION, now

    def resume(self, parked_at: float) -> None:
        """The model is there again: the time since `parked_at` was one of waiting for it."""
        if self.wants_pass and self.stage is not Stage.LOAD:  # that one has not begun, and counts by itself
            parked = time.monotonic() - parked_at
            self.spent[Stage.LOAD] += parked
            self._since += parked

    @property
    def wants_pass(self) -> bool:
        """Whether it goes on as soon as the model does."""
        return self.stage in {Stage.LOAD, Stage.SEGMENTATION, Stage.EMBEDDING}

    def prepare(self, model: DiarizationModel) -> None:
        """To be called before passes are filled."""
        for track in self.tracks:
            track.prepare(model)

    @property
    def wants(self) -> Kind | None:
        """The kind of pass that comes next; None where there is none, or not yet."""
        if not self.wants_pass:
            return None
        return next((kind for track in self.tracks if (kind := track.wants) is not None), None)

    def slots(self, kind: Kind, room: int) -> list[Slot]:
        """What wants a pass of this kind next, in its order, `room` at most."""
        slots: list[Slot] = []
        for track in self.tracks:
            slots += track.slots(kind, room - len(slots))
        return slots

    def passed(self, kind: Kind, seconds: float) -> None:
        """A pass of this kind was made, and what it found has been taken."""
        self.spent[Stage.SEGMENTATION if kind == SEGMENTATION else Stage.EMBEDDING] += seconds
        if self.wants != SEGMENTATION:
            self.stage = Stage.EMBEDDING

    @property
    def through_networks(self) -> bool:
        return self.stage is Stage.EMBEDDING and self.wants is None

    def clustered_by(self, clustering: "Future[Turns]") -> None:
        self.stage, self.clustering = Stage.CLUSTERING, clustering
        self._let_go_of_recording()

    def release(self) -> None:
        """Nobody wants it any more."""
        self.cancelled.set()
        self._let_go_of_recording()

    def _let_go_of_recording(self) -> None:
        if self._waveform is not None:
            self._waveform.close()

    # What is told of it

    def progress(self) -> Progress:
        if not self._model:
            return Progress(stage=self.stage, fraction=0)
        cost = _SEGMENTATION_COST + _EMBEDDING_COST
        segmented, embedded = (
            _mean(track.segmented for track in self.tracks),
            _mean(track.embedded for track in self.tracks),
        )
        done = (segmented * _SEGMENTATION_COST + embedded * _EMBEDDING_COST) / cost
        eta = round((time.monotonic() - self._since) * (1 - done) / done, 1) if done else None
        return Progress(stage=self.stage, fraction=round(done * _BEFORE_CLUSTERING, 4), eta=eta)

    def result(self, turns: Turns) -> dict[str, Any]:
        """The fields of DiarizationResult but `job_id`, `run` and `timings.queue`."""
        waveform, audio = self._waveform, self.task.job.audio
        assert waveform is not None and audio is not None  # noqa: S101 - it was computed from them
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
                "sha256": audio.sha256,
                "sample_rate": waveform.source_rate,
                "channels": waveform.source_channels,
            },
            "model": self._model,
        }


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)


def _segment(turn: Turn) -> dict[str, Any]:
    return {"speaker": turn.speaker, "start": turn.start, "end": turn.end}

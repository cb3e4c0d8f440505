"""One open job of the transcription engine: its stretches, what was heard in them, and how far it has come."""

import threading
import time
from enum import StrEnum
from typing import Any, NamedTuple

from processor.audio import SAMPLE_RATE, Samples, Waveform
from processor.engines.base import JobTask, Urgency
from processor.engines.decoding import Decoding
from processor.engines.transcribe.model import TranscriptionModel
from processor.engines.transcribe.passages import Passage, spoken, text
from processor.engines.transcribe.stretches import Span
from schemas.jobs import Lane, Progress, TranscribeParams
from turnstream.weights import whisper


class Stage(StrEnum):
    DECODE = "decode"
    LOAD = "load"
    TRANSCRIPTION = "transcription"


class Recording(NamedTuple):
    """Decoded, and cut."""

    waveform: Waveform
    stretches: list[Span]


UNDETERMINED = "und"
"""The language of a recording in which nobody speaks, as BCP 47 has it."""


class OpenJob:
    """Used from the engine's thread; the one that computes looks at `cancelled`."""

    def __init__(self, task: JobTask) -> None:
        self.task = task
        self.params = TranscribeParams.model_validate(task.params)
        self.opened = time.monotonic()
        self.urgency: Urgency = (task.job.lane is Lane.BATCH, self.opened)
        self.cancelled = threading.Event()
        self.stage = Stage.DECODE
        self.spent = dict.fromkeys(Stage, 0.0)
        """Seconds by stage."""
        self.told = 0.0
        """When progress was last told, on the monotonic clock."""
        self.language = self.params.language
        self._recording: Recording | None = None
        self._heard = 0
        """So many stretches were."""
        self._said: list[str] = []
        self._probability = 0.0
        self._segments: list[dict[str, Any]] = []
        self._described: dict[str, Any] = {}
        self._warnings: list[str] = []
        self._since = self._heard_at = 0.0
        """When the stage began, and when the last stretch was heard, on the monotonic clock."""

    # The way through the stages

    def decoded(self, decoding: Decoding[Recording]) -> None:
        """Raises what the decoding raised."""
        self._recording = decoding.result()
        self.spent[Stage.DECODE] = decoding.seconds
        self.stage, self._since = Stage.LOAD, time.monotonic()

    def begin(self, model: TranscriptionModel) -> None:
        """The model is there. Raises InvalidRequest where it does not know the language."""
        if self.language is not None and not model.knows(self.language):
            raise whisper.refused(f"{model.weights.name} does not know {self.language!r}")
        if model.english_only:
            self.language = "en"
        self._probability = 1.0 if self.language else 0.0
        self._described = {
            "name": model.weights.name,
            "source": str(model.weights.source),
            "mode": model.compute_type,
            "device": model.device,
            "revision": model.weights.revision,
        }
        self._warnings = model.warnings
        now = time.monotonic()
        self.spent[Stage.LOAD] = now - self._since
        self.stage, self._since = Stage.TRANSCRIPTION, now

    @property
    def waits_for_the_model(self) -> bool:
        return self.stage is not Stage.DECODE

    @property
    def over(self) -> bool:
        return self.stage is Stage.TRANSCRIPTION and self._heard == len(self.recording.stretches)

    @property
    def recording(self) -> Recording:
        assert self._recording is not None  # noqa: S101 - only decoded jobs are asked for it
        return self._recording

    def next(self) -> Samples:
        """The stretch to hear next."""
        start, end = self.recording.stretches[self._heard]
        return self.recording.waveform.samples[start:end]

    def take(self, passage: Passage, seconds: float) -> None:
        """What was heard in it. The first one tells the language of all."""
        start, end = self.recording.stretches[self._heard]
        after = self._segments[-1]["end"] if self._segments else 0.0
        self._segments += spoken(passage, start / SAMPLE_RATE, end / SAMPLE_RATE, after)
        self._said.append(text(passage))
        if self.language is None:
            self.language, self._probability = passage.language, passage.probability
        self._heard += 1
        self._heard_at = time.monotonic()
        self.spent[Stage.TRANSCRIPTION] += seconds

    def release(self) -> None:
        """Let go of the recording."""
        self.cancelled.set()
        if self._recording is not None:
            self._recording.waveform.close()

    # What is told of it

    def progress(self) -> Progress:
        if self.stage is not Stage.TRANSCRIPTION:
            return Progress(stage=self.stage, fraction=0)
        ends = [end for _, end in self.recording.stretches]
        done = ends[self._heard - 1] / ends[-1] if self._heard else 0.0
        eta = round(self._left(done), 1) if done else None
        return Progress(stage=self.stage, fraction=round(done, 4), eta=eta)

    def _left(self, done: float) -> float:
        """Seconds, as it went so far. A stretch takes long, so what was left at the end of the last one is counted down."""
        left = (self._heard_at - self._since) * (1 - done) / done
        return max(0.0, left - (time.monotonic() - self._heard_at))

    def result(self) -> dict[str, Any]:
        """The fields of TranscriptionResult but `job_id`, `run` and `timings.queue`."""
        waveform, audio = self.recording.waveform, self.task.job.audio
        assert audio is not None  # noqa: S101 - it was decoded
        total = round(time.monotonic() - self.opened, 3)
        return {
            "language": self.language or UNDETERMINED,
            "language_probability": round(min(max(self._probability, 0.0), 1.0), 4),
            "text": "".join(self._said).strip(),
            "segments": self._segments,
            "performance": total,
            "timings": {str(stage): round(seconds, 3) for stage, seconds in self.spent.items()} | {"total": total},
            "warnings": [*waveform.warnings, *self._warnings],
            "audio": {
                "duration": waveform.duration,
                "sha256": audio.sha256,
                "sample_rate": waveform.source_rate,
                "channels": waveform.source_channels,
            },
            "model": self._described,
        }

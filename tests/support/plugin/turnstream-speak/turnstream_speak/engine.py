import base64
import io
import math
import time
import wave
from array import array
from dataclasses import dataclass, field

from processor.engines.base import Engine, EngineContext, Failed, Finished, JobTask, Outcome, Progressed, Urgency
from processor.model_manager import ModelSource
from schemas.errors import TurnstreamError
from schemas.jobs import Lane, Progress
from turnstream_speak.operation import SPEAK, SpeakParams

RATE = 16_000
LETTER = 0.05  # seconds that a letter sounds at speed 1
LETTERS = 50  # of each job that one step says


def load_voices() -> dict[str, float]:
    return {"low": 110.0, "high": 220.0}  # Hz: where another engine reads its weights


def speak_engine(context: EngineContext) -> Engine:
    return SpeakEngine(context)


@dataclass
class OpenJob:
    task: JobTask
    params: SpeakParams
    opened: float = field(default_factory=time.monotonic)
    samples: array = field(default_factory=lambda: array("h"))
    said: int = 0


class SpeakEngine(Engine):
    def __init__(self, context: EngineContext) -> None:
        self._models = context.models
        self._models.register(ModelSource(SPEAK.name, load_voices, size=0))
        self._jobs: dict[tuple[str, str], OpenJob] = {}

    def open(self, task: JobTask) -> None:
        self._jobs[task.id] = OpenJob(task, SpeakParams.model_validate(task.params))

    def settle(self) -> list[Outcome]:
        return []  # nothing is done aside

    def step(self) -> list[Outcome]:
        try:
            voices = self._models.get(SPEAK.name)
        except TurnstreamError as error:
            return [Failed(id, error.info) for id in self._take_all()]
        if voices is None:
            return []
        return [self._advance(job, voices[job.params.voice]) for job in list(self._jobs.values())]

    @property
    def urgency(self) -> Urgency | None:
        return min(((job.task.job.lane is Lane.BATCH, job.opened) for job in self._jobs.values()), default=None)

    def cancel(self, id: tuple[str, str]) -> None:
        self._jobs.pop(id, None)

    def park(self) -> None: ...  # no job holds a part of the model

    def close(self) -> None:
        self._jobs.clear()

    @property
    def open_jobs(self) -> int:
        return len(self._jobs)

    def _advance(self, job: OpenJob, pitch: float) -> Outcome:
        text = job.params.text
        for letter in text[job.said : job.said + LETTERS]:
            job.samples.extend(tone(pitch * 2 ** (ord(letter) % 24 / 12), LETTER / job.params.speed))
        job.said += LETTERS
        if job.said < len(text):
            return Progressed(job.task.id, Progress(stage="speaking", fraction=job.said / len(text)))
        del self._jobs[job.task.id]
        return Finished(
            job.task.id,
            {
                "audio": base64.b64encode(wav(job.samples)).decode(),
                "duration": len(job.samples) / RATE,
                "sample_rate": RATE,
                "timings": {"total": time.monotonic() - job.opened},
            },
        )

    def _take_all(self) -> list[tuple[str, str]]:
        ids = list(self._jobs)
        self._jobs.clear()
        return ids


def tone(frequency: float, seconds: float) -> list[int]:
    return [round(8000 * math.sin(2 * math.pi * frequency * n / RATE)) for n in range(round(seconds * RATE))]


def wav(samples: array) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, RATE, 0, "NONE", "NONE"))
        out.writeframes(samples.tobytes())
    return file.getvalue()

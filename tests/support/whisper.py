"""Whisper for tests: files of the right names, a model that answers at once, and jobs for the engine."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from processor.audio import Samples
from processor.engines.base import Failed, Finished, JobTask
from processor.engines.transcribe.passages import Passage
from processor.engines.transcribe.stretches import WINDOW
from schemas.errors import JobCancelled
from schemas.jobs import Lane
from schemas.results import TranscriptionResult
from tests.support.worker import new_job
from turnstream.weights import Source, Weights

ENGLISH_WORDS, ALL_WORDS = 51_864, 51_865
"""Lines of the vocabulary of a model of English alone, and of one of many languages."""


def make_whisper(directory: Path, words: int = ALL_WORDS) -> Path:
    """A directory in CTranslate2's layout; its network is none."""
    directory.mkdir(parents=True, exist_ok=True)
    contents = {
        "config.json": "{}",
        "tokenizer.json": "{}",
        "model.bin": f"network of {words} words",
        "vocabulary.txt": "word\n" * words,
    }
    for name, content in contents.items():
        (directory / name).write_text(content)
    return directory


# A model that answers at once


@dataclass
class QuickWhisper:
    """In the place of TranscriptionModel: notes each pass by the first of its samples, waits for `go`, fails on BAD."""

    BAD = 0.9
    weights = Weights(Path(), "quick", Source.DIRECTORY, "none")
    device, compute_type = "cpu", "float32"
    warnings = ("told_by_the_model",)

    english_only: bool = False
    error: Exception = field(default_factory=lambda: ValueError("the networks do not like this"))
    heard: list[tuple[float, str | None]] = field(default_factory=list)
    busy: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.go.set()

    def knows(self, language: str) -> bool:
        return language in ({"en"} if self.english_only else {"en", "nl"})

    def hear(self, samples: Samples, language: str | None, cancelled: Callable[[], bool]) -> Passage:
        """Two words, and Dutch where no language is told."""
        first = round(float(samples[0]), 3)
        self.heard.append((first, language))
        self.busy.set()
        assert self.go.wait(30)
        if cancelled():
            raise JobCancelled
        if first == round(self.BAD, 3):
            raise self.error
        words = [Heard(0.5, 1.0, word=f" {first}"), Heard(1.0, 2.0, word=" s.")]
        return Passage([Heard(0.5, 2.0, text=f" {first} s.", words=words)], language or "nl", 0.75)


@dataclass
class Heard:
    """A word or a segment, as faster-whisper gives it."""

    start: float
    end: float
    word: str = ""
    text: str = ""
    probability: float = 0.5
    words: list["Heard"] | None = None


def speechless(value: float, stretches: int) -> Samples:
    """A recording in which nobody speaks; where that is listened to all the same, of so many stretches, each of which
    begins with `value`."""
    return np.full(WINDOW * stretches, value, np.float32)


def transcribe_task(lane: Lane = Lane.INTERACTIVE, **params: object) -> JobTask:
    """A job that listens to what is no speech, too, unless told otherwise."""
    return JobTask(new_job(lane=lane), "live", "transcribe", {"vad": False, **params})


def transcription_of(end: Finished | Failed) -> TranscriptionResult:
    """As the worker completes it."""
    assert isinstance(end, Finished), end.error
    job_id, run = end.id
    timings = {**end.result["timings"], "queue": 0}
    return TranscriptionResult.model_validate({**end.result, "job_id": job_id, "run": run, "timings": timings})

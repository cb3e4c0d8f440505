"""A Whisper model in memory, and the one pass that the engine makes with it."""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel
from tqdm import tqdm

from processor.audio import SAMPLE_RATE, Samples
from processor.engines.transcribe.device import devices
from processor.engines.transcribe.passages import Passage
from processor.model_manager import out_of_memory
from schemas.errors import JobCancelled
from turnstream.settings import Settings
from turnstream.shares import cores
from turnstream.weights import Source, Weights, whisper

log = logging.getLogger(__name__)

TINY_ENGLISH_MODEL = "tiny_english_model"
"""Warning: the open weights were used, which know little, and English only."""

REPETITIVE = 2.4
"""A text that zlib makes so many times smaller says the same over and over: OpenAI's own measure of a failed pass."""
SILENT = 0.6
"""From this probability of no speech on, OpenAI's own measure, a repetitive text is not one that was spoken."""
REST, MARGIN = 1.0, 0.4
"""Seconds at the end of a stretch. What a pass leaves of it is heard in another one, unless it is less than REST: then
Whisper has heard it, and what it would say now is made up. After MARGIN nobody speaks."""
FRAMES_A_SECOND = 100


class TranscriptionModel:
    """Used from one thread at a time."""

    def __init__(self, network: WhisperModel, weights: Weights) -> None:
        self.weights = weights
        self.device: str = network.model.device
        self.compute_type: str = network.model.compute_type
        self.warnings = [TINY_ENGLISH_MODEL] if weights.source is Source.OPEN_PACK else []
        self._network = network

    @property
    def english_only(self) -> bool:
        return not self._network.model.is_multilingual

    def knows(self, language: str) -> bool:
        if self.english_only:
            return language == "en"
        return self._network.hf_tokenizer.token_to_id(f"<|{language}|>") is not None

    def hear(self, samples: Samples, language: str | None, cancelled: Callable[[], bool] = lambda: False) -> Passage:
        """A stretch of 30 seconds at most, in that language or in the one that is detected. Raises JobCancelled.

        Nothing in it is drawn by chance, as upstream does where a pass fails: the same samples give the same words.
        """
        segments, info = self._pass(samples, language, cancelled)
        if any(segment.compression_ratio > REPETITIVE for segment in segments):
            segments, info = self._pass(samples, language, cancelled, no_repeat_ngram_size=3)
        said = [
            segment
            for segment in segments
            if segment.compression_ratio <= REPETITIVE or segment.no_speech_prob <= SILENT
        ]
        return Passage(said, info.language, float(info.language_probability))

    def _pass(
        self, samples: Samples, language: str | None, cancelled: Callable[[], bool], **options: Any
    ) -> tuple[list[Any], Any]:
        """Upstream's segments, and what it says of the language."""
        found, info = self._network.transcribe(
            samples,
            language=language,
            temperature=0.0,
            condition_on_previous_text=False,
            word_timestamps=True,
            **options,
        )
        return list(_heard(found, len(samples) / SAMPLE_RATE, cancelled)), info


def _heard(segments: Any, duration: float, cancelled: Callable[[], bool]) -> Iterator[Any]:
    """Segments, computed as they are taken; those of made-up ends are left out."""
    for segment in segments:
        if cancelled():
            raise JobCancelled()
        if segment.seek > 0 and duration - segment.seek / FRAMES_A_SECOND < REST:
            return
        yield segment
        if segment.end > duration - MARGIN:
            return


def load(settings: Settings) -> TranscriptionModel:
    """From settings to a model on its device. Takes a second, and minutes where weights must be fetched first.

    Raises a ModelError.
    """
    logging.getLogger("faster_whisper").setLevel(logging.WARNING)  # it tells of every stretch
    # A bar is made for every pass, though none is shown, and its own lock would be a semaphore of the system left behind.
    tqdm.set_lock(threading.RLock())
    *others, last = devices(settings)
    for device in others:
        try:
            return _load_on(device, settings)
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            log.warning("CTranslate2 cannot use the device %s (%s)", device, error)
    return _load_on(last, settings)


def _load_on(device: str, settings: Settings) -> TranscriptionModel:
    weights = whisper.resolve(settings, gpu=device == "cuda")
    model = TranscriptionModel(_network(weights, device), weights)
    log.info("%s (%s, %s) runs on %s in %s", weights.name, weights.source, weights.revision, device, model.compute_type)
    return model


def _network(weights: Weights, device: str) -> WhisperModel:
    """In float16 on a GPU that can, else in float32: int8 takes two thirds of the time on a CPU, and loses sentences.

    Raises RuntimeError, with CTranslate2's words.
    """
    half = "float16" in ctranslate2.get_supported_compute_types(device)
    network = WhisperModel(
        str(weights.path), device=device, compute_type="float16" if half else "float32", cpu_threads=cores(os.environ)
    )
    if device == "cuda":  # its libraries are looked for when they are first used
        bands = network.feature_extractor.mel_filters.shape[0]
        network.encode(np.zeros((bands, network.feature_extractor.nb_max_frames), np.float32))
    return network

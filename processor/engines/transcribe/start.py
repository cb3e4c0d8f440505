"""The transcription engine as the engine process starts it."""

from contextlib import suppress
from functools import partial
from pathlib import Path

from processor.engines import page_cache
from processor.engines.base import EngineContext
from processor.engines.transcribe.engine import MODEL, TranscribeEngine
from processor.engines.transcribe.model import load
from processor.model_manager import ModelSource
from schemas.errors import TurnstreamError
from turnstream.settings import Settings
from turnstream.weights import whisper

IN_FLOAT32 = 2
"""On a CPU a model takes so many times its files, whose weights are in float16."""


def transcribe_engine(context: EngineContext) -> TranscribeEngine:
    settings = context.settings
    files = partial(_files, settings)
    size = page_cache.size(files()) * (1 if whisper.has_gpu(settings) else IN_FLOAT32)
    context.models.register(ModelSource(MODEL, partial(load, settings), files, size or None))
    return TranscribeEngine(context)


def _files(settings: Settings) -> list[Path]:
    with suppress(TurnstreamError):  # for the load to tell
        if (found := whisper.available(settings)) is not None:
            return [path for path in found.path.iterdir() if path.is_file()]
    return []

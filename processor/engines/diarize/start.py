"""The diarization engine as the engine process starts it."""

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path

import torch

from processor.engines.base import EngineContext
from processor.engines.diarize.engine import MODEL, DiarizeEngine
from processor.engines.diarize.model import load
from processor.model_manager import ModelSource
from schemas.errors import TurnstreamError
from turnstream import allocator, weights
from turnstream.settings import Settings
from turnstream.shares import cores

import_module("processor.engines.diarize.pipeline")  # pyannote takes seconds to import: here, ahead of the first load


def diarize_engine(context: EngineContext) -> DiarizeEngine:
    allocator.keep_big_blocks()
    torch.set_num_threads(cores(os.environ))
    settings = context.settings
    context.models.register(ModelSource(MODEL, partial(load, settings), partial(_files, settings)))
    return DiarizeEngine(context)


def _files(settings: Settings) -> Sequence[Path]:
    with suppress(TurnstreamError):  # for the load to tell
        if (found := weights.available(settings)) is not None:
            return [path for path in found.path.rglob("*") if path.is_file()]
    return ()

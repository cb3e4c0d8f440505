"""The diarization engine as the engine process starts it."""

import os
import threading
from contextlib import suppress
from functools import partial
from importlib import import_module

from turnstream import weights
from turnstream.settings import Settings

# libgomp reads this as it is loaded, with torch. Waiting threads that spin would take the processor from the broker, the
# API and the worker, which on a small machine have the same cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from processor.engines import allocator
from processor.engines.diarize.engine import DiarizeEngine
from processor.engines.diarize.model import load
from processor.engines.recordings import Recordings


def diarize_engine(settings: Settings) -> DiarizeEngine:
    weights.quiet(settings)
    allocator.keep_big_blocks()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(_cores())
    threading.Thread(target=_import_ahead, name="import", daemon=True).start()
    return DiarizeEngine(partial(load, settings), Recordings(settings).waveform)


def _import_ahead() -> None:
    """pyannote takes seconds to import: the first job should not have to wait for them. A failure is for the load to tell."""
    with suppress(Exception):
        import_module("processor.engines.diarize.pipeline")


def _cores() -> int:
    """Those this process may run on, which a container may limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

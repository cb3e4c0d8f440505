"""On which device the networks run: the CPU's turns are the measure, and a device that finds others is not used."""

import logging
import wave
from itertools import zip_longest
from typing import Protocol

import numpy as np
import torch

from processor.engines.diarize.clustering import Turn, Turns
from processor.engines.diarize.windows import Samples
from schemas.errors import ModelLoadFailed
from turnstream.sample import sample

log = logging.getLogger(__name__)

TOLERANCE = 0.04
"""Seconds by which an end of a turn may differ, a little over two frames: float sums on a GPU come in another order."""


class Movable(Protocol):
    """A model that can be taken to another device."""

    def to(self, device: str) -> None: ...

    def diarize(self, samples: Samples) -> Turns: ...


def wanted(setting: str) -> str:
    """The device that DEVICE names. Raises ModelLoadFailed where this machine has none of that kind."""
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if setting == "auto":
        return next(device for device, there in found.items() if there)
    if not found[setting]:
        raise ModelLoadFailed(f"DEVICE={setting}, but torch finds no such device here; DEVICE=cpu always works")
    return setting


def settle(model: Movable, device: str, sample: Samples) -> None:
    """Take `model` from the CPU to `device`, if it finds the same turns in `sample` there."""
    if device == "cpu":
        return
    expected = model.diarize(sample)
    model.to(device)
    try:
        if agree(expected.turns, model.diarize(sample).turns):
            return
        reason = "finds other turns in the sample recording than the CPU does"
    except RuntimeError as error:
        reason = f"cannot run the networks ({error})"
    log.warning("device %s %s: the CPU is used", device, reason)
    model.to("cpu")


def agree(ours: list[Turn], theirs: list[Turn]) -> bool:
    """Whether both have the same turns of the same speakers, but for TOLERANCE."""
    return all(
        a is not None
        and b is not None
        and a.speaker == b.speaker
        and abs(a.start - b.start) <= TOLERANCE
        and abs(a.end - b.end) <= TOLERANCE
        for a, b in zip_longest(ours, theirs)
    )


def sample_recording() -> Samples:
    """The 30 seconds that ship with pyannote.audio, as samples."""
    with wave.open(str(sample("sample.wav"))) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16)
    return samples.astype(np.float32) / np.float32(32768)

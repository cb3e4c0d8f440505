"""A device is used only if it finds the CPU's turns."""

import logging

import numpy as np
import pytest

from processor.engines.diarize import device
from processor.engines.diarize.clustering import Turn, Turns
from schemas.errors import ModelLoadFailed

TURNS = [Turn("SPEAKER_00", 0.0, 1.0), Turn("SPEAKER_01", 1.5, 2.5)]
SAMPLE = np.zeros(10, np.float32)


class Model:
    """Finds `elsewhere` on every device but the CPU."""

    def __init__(self, elsewhere: list[Turn] | RuntimeError) -> None:
        self._elsewhere = elsewhere
        self.device = "cpu"

    def to(self, device: str) -> None:
        self.device = device

    def diarize(self, samples: np.ndarray) -> Turns:
        found = TURNS if self.device == "cpu" else self._elsewhere
        if isinstance(found, RuntimeError):
            raise found
        return Turns(found, found, [])


def test_a_device_that_agrees_is_used():
    model = Model([Turn("SPEAKER_00", 0.0, 1.01), TURNS[1]])  # a frame apart
    device.settle(model, "cuda", SAMPLE)
    assert model.device == "cuda"


@pytest.mark.parametrize(
    "elsewhere",
    [
        [],
        TURNS[:1],
        [TURNS[0], Turn("SPEAKER_00", 1.5, 2.5)],
        [TURNS[0], Turn("SPEAKER_01", 1.5, 2.6)],
        [*TURNS, Turn("SPEAKER_00", 3.0, 3.1)],
        RuntimeError("no kernel image is available"),
    ],
)
def test_the_cpu_is_used_where_a_device_differs(elsewhere: list[Turn] | RuntimeError, caplog: pytest.LogCaptureFixture):
    model = Model(elsewhere)
    with caplog.at_level(logging.WARNING):
        device.settle(model, "cuda", SAMPLE)
    assert model.device == "cpu"
    assert "the CPU is used" in caplog.text


def test_auto_takes_the_best_device_there_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    assert device.wanted("auto") == "cpu"
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert device.wanted("auto") == "mps"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert device.wanted("auto") == "cuda"
    assert device.wanted("cpu") == "cpu"


def test_a_device_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ModelLoadFailed, match="DEVICE=cuda"):
        device.wanted("cuda")


def test_the_sample_is_thirty_seconds_of_sound():
    sample = device.sample_recording()
    assert len(sample) == 30 * 16_000
    assert 0.1 < np.abs(sample).max() <= 1

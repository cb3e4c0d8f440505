"""The networks on a GPU against the CPU's: wants CUDA, and says so where there is none."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from processor.engines.diarize import device
from processor.engines.diarize.model import DiarizationModel, load
from processor.engines.diarize.pieces import Piece
from schemas.jobs import Mode
from tests.bench.corpus.reference import Spoken
from tests.bench.der import errors
from turnstream.settings import Settings

pytestmark = [
    pytest.mark.model,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.fixture(scope="module")
def cpu() -> DiarizationModel:
    return load(Settings(device="cpu"))


@pytest.fixture
def cuda() -> Iterator[DiarizationModel]:
    yield load(Settings(device="cuda"))
    torch.cuda.empty_cache()


def spoken(model: DiarizationModel, samples: np.ndarray) -> list[Spoken]:
    return [Spoken(turn.speaker, turn.start, turn.end) for turn in model.diarize(samples).turns]


def test_the_gpu_is_used_and_finds_the_cpus_turns(cpu: DiarizationModel, cuda: DiarizationModel):
    samples = device.sample_recording()
    assert cuda.device == "cuda"
    error = errors(spoken(cpu, samples), spoken(cuda, samples), len(samples) / 16_000)
    assert error.rate <= 0.05  # points of a hundred


def test_voice_prints_differ_by_rounding_alone(cpu: DiarizationModel, cuda: DiarizationModel):
    samples = device.sample_recording()
    windows = cpu.windows(samples)
    some = [windows[index] for index in range(8, 12)]
    activity, _ = cpu.segmenter(some)
    pieces = [
        Piece(index, window, cpu._masks(heard))
        for index, (window, heard) in enumerate(zip(some, activity, strict=True))
    ]
    theirs = np.concatenate([cpu.embedders[Mode.EXACT]([piece]) for piece in pieces])
    np.testing.assert_allclose(cuda.embedders[Mode.EXACT](pieces), theirs, rtol=0, atol=2e-4)


def test_tf32_is_for_the_embedding_network_alone(cpu: DiarizationModel):
    samples = device.sample_recording()
    windows = cpu.windows(samples)
    rounded, plain = load(Settings(device="cuda", tf32=True)), load(Settings(device="cuda"))
    some = [windows[index] for index in range(len(windows))]
    np.testing.assert_array_equal(rounded.segmenter(some)[0], plain.segmenter(some)[0])
    assert not torch.backends.cudnn.allow_tf32

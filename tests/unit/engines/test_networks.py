"""The networks as the engine runs them, against upstream's own forward passes. The weights are drawn at random."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pyannote.audio.models.embedding import WeSpeakerResNet34, XVectorSincNet
from torch import nn

from processor.engines.diarize.segmentation import NEAR_TIE, Segmenter
from processor.engines.diarize.trunk import Convolution, Trunk
from processor.engines.diarize.tuning import Tuning, tuning
from processor.engines.diarize.voice import VoiceNetwork

SECONDS = 2


def drawn(network: nn.Module) -> nn.Module:
    """With batch norms that do something."""
    torch.manual_seed(7)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


def embedding_of(network: nn.Module) -> SimpleNamespace:
    return SimpleNamespace(model_=copy.deepcopy(network), dimension=network.dimension, device="cpu")


@pytest.fixture
def waveforms() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).standard_normal((2, 1, SECONDS * 16000)).astype(np.float32) / 20)


@pytest.mark.parametrize("make", [WeSpeakerResNet34, XVectorSincNet])
def test_one_pass_for_all_speakers_makes_the_vectors_of_the_network(make: type[nn.Module], waveforms: torch.Tensor):
    network = drawn(make())
    masks = (torch.rand(2, 3, 117) < 0.7).float()
    ours = VoiceNetwork(embedding_of(network))
    with torch.inference_mode():
        expected = torch.stack([network(waveforms, weights=masks[:, speaker]) for speaker in range(3)], dim=1)
        vectors = ours(waveforms, masks)
    torch.testing.assert_close(vectors, expected, rtol=1e-3, atol=1e-4)


def test_a_network_of_basic_blocks_gives_its_layers_away():
    embedding = embedding_of(drawn(WeSpeakerResNet34()))
    assert Trunk.fits(embedding.model_)
    weights = sum(parameter.numel() for parameter in embedding.model_.parameters())
    network = VoiceNetwork(embedding)
    assert network.in_parts
    assert sum(parameter.numel() for parameter in embedding.model_.parameters()) < weights / 2  # and is not held twice


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_what_follows_a_convolution_makes_no_difference_to_it(layout: torch.memory_format):
    network = drawn(WeSpeakerResNet34())
    packed, plain = Trunk(copy.deepcopy(network)), Trunk(copy.deepcopy(network))
    for trunk in (packed, plain):
        trunk.arrange(layout)
    for module in plain.modules():
        if isinstance(module, Convolution):
            module._packed = module._winograd = None
    banks = torch.randn(2, 198, 80)
    with torch.inference_mode():
        torch.testing.assert_close(packed(banks), plain(banks), rtol=1e-3, atol=1e-5)


def test_another_network_is_left_as_it_is():
    assert not VoiceNetwork(embedding_of(drawn(XVectorSincNet()))).in_parts


class Scorer(nn.Module):
    """Three classes in the place of a network: a frame is 10 samples, and the level of its first one is what it hears."""

    specifications = SimpleNamespace(classes=["a", "b", "c"])
    audio = SimpleNamespace(sample_rate=100, get_num_samples=lambda seconds: round(100 * seconds))

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def num_frames(self, samples: int) -> int:
        return samples // 10

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        self.seen.append(tuple(waveforms.shape))
        level = waveforms[:, 0, ::10]
        return torch.stack([-level, level, torch.full_like(level, -5)], dim=-1)


def segmenter(lanes: int) -> tuple[Segmenter, Scorer]:
    network = Scorer()
    inference = SimpleNamespace(
        model=network,
        device="cpu",
        duration=1.0,
        step=0.1,
        conversion=lambda scores: nn.functional.one_hot(scores.argmax(-1), 3).float(),
    )
    return Segmenter(inference, Tuning(segmentation_rows=2, embedding_rows=1, lanes=lanes)), network


@pytest.mark.parametrize("lanes", [1, 3])
def test_every_pass_has_the_same_shape_and_windows_come_back_in_order(lanes: int):
    segment, network = segmenter(lanes)
    windows = [np.full(100, level, np.float32) for level in (1, -1, 1, -1, -1)][: segment.room]
    activity, ties = segment(windows)
    assert segment.room == 2 * lanes
    assert activity.dtype == np.uint8
    assert activity.shape == (len(windows), 10, 3)
    assert activity[:, 0].argmax(-1).tolist() == [1, 0, 1, 0, 0][: segment.room]
    assert set(network.seen) == {(2, 1, 100)}
    assert not ties.any()


def test_passes_that_hold_nothing_are_not_run():
    segment, network = segmenter(lanes=3)
    segment([np.ones(100, np.float32)])
    assert len(network.seen) == 1


def test_frames_whose_best_classes_are_all_but_equal_are_counted():
    segment, _ = segmenter(lanes=1)
    window = np.ones(100, np.float32)
    window[20] = NEAR_TIE / 3
    window[50] = 0
    _, ties = segment([window, np.ones(100, np.float32)])
    assert ties.tolist() == [2, 0]


def test_segmentation_for_less_memory_has_fewer_passes_at_once_and_then_smaller_ones():
    segment, network = segmenter(lanes=3)  # of two windows each
    windows = [np.full(100, level, np.float32) for level in (1, -1, 1, -1, 1, -1)]
    whole, _ = segment(windows)
    shapes = []
    while segment.halve():
        network.seen.clear()
        parts = [segment(windows[start : start + segment.room])[0] for start in range(0, 6, segment.room)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
        shapes.append((segment.room, {shape[0] for shape in network.seen}))
    assert shapes == [(3, {2}), (1, {1})]


def test_torch_uses_all_cores_again_after_a_pass():
    before = torch.get_num_threads()
    segment, _ = segmenter(lanes=2)
    segment([np.ones(100, np.float32)] * 4)
    assert torch.get_num_threads() == before


def test_a_pass_does_not_depend_on_the_number_of_cores(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    few = tuning("cpu")
    monkeypatch.setenv("OMP_NUM_THREADS", "32")
    many = tuning("cpu")
    assert (few.segmentation_rows, few.embedding_rows) == (many.segmentation_rows, many.embedding_rows)
    assert many.segmentation_room > few.segmentation_room

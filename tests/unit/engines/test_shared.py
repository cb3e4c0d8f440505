"""Fast mode's embedding stage on a small network of the kind: which windows get vectors, from which frames, held how long."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pyannote.audio.models.embedding.wespeaker import BaseWeSpeakerResNet
from pyannote.audio.models.embedding.wespeaker.resnet import BasicBlock, ResNet

from processor.engines.diarize.analysis import Analysis
from processor.engines.diarize.blocks import FRAME, LENGTH
from processor.engines.diarize.embedding import Masks
from processor.engines.diarize.pieces import Array
from processor.engines.diarize.shared import Block, SharedEmbedder, SharedEmbedding
from processor.engines.diarize.tuning import Tuning
from processor.engines.diarize.voice import VoiceNetwork
from processor.engines.diarize.windows import Windows

RATE, SIZE, FRAMES, SPEAKERS, DIMENSION = 16_000, 160_000, 589, 3, 8
ONE_BLOCK = Tuning(segmentation_rows=1, embedding_rows=2)
MANY_BLOCKS = Tuning(segmentation_rows=1, embedding_rows=8)


@pytest.fixture(scope="module")
def network() -> VoiceNetwork:
    """With weights by chance, and few of them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BaseWeSpeakerResNet()
        model.resnet = ResNet(
            BasicBlock, [1, 1, 1, 1], m_channels=2, feat_dim=80, embed_dim=DIMENSION, two_emb_layer=False
        )
        return VoiceNetwork(SimpleNamespace(model_=model.eval(), dimension=DIMENSION, device=torch.device("cpu")))


def recording(seconds: float) -> np.ndarray:
    """Noise whose colour and loudness change all the time, so that no second is like another."""
    rng = np.random.default_rng(1)
    noise = rng.normal(size=round(seconds * RATE))
    loudness = np.repeat(rng.uniform(0.01, 0.2, size=round(seconds * 4) + 1), RATE // 4)[: len(noise)]
    smooth = np.convolve(noise, np.ones(8) / 8, mode="same")
    return np.where(np.arange(len(noise)) // 5000 % 3 == 0, smooth, noise).astype(np.float32) * loudness.astype(
        np.float32
    )


def talk(windows: Windows, *stretches: tuple[int, float, float]) -> Analysis:
    """An analysis whose activity is that of (speaker, first second, last second)."""
    analysis = Analysis.blank(len(windows), FRAMES, SPEAKERS, DIMENSION)
    for index in range(len(windows)):
        for speaker, start, end in stretches:
            low, high = (round(np.clip((t - index) / 10, 0, 1) * FRAMES) for t in (start, end))
            analysis.activity[index, low:high, speaker] = 1
    return analysis


def stage(seconds: float, *stretches: tuple[int, float, float]) -> tuple[SharedEmbedding, Analysis]:
    windows = Windows(recording(seconds), SIZE, RATE)
    analysis = talk(windows, *stretches)
    return SharedEmbedding(windows, analysis, Masks(5, exclude_overlap=True)), analysis


def finish(embedding: SharedEmbedding, embedder: SharedEmbedder) -> None:
    while not embedding.done:
        pieces = embedding.pieces(embedder.room)
        for piece, value in zip(pieces, embedder(pieces), strict=True):
            embedding.take(piece.index, value)


def embedded(network: VoiceNetwork, tuning: Tuning, seconds: float, *stretches: tuple[int, float, float]) -> Analysis:
    embedding, analysis = stage(seconds, *stretches)
    finish(embedding, SharedEmbedder(network, tuning, size=SIZE))
    return analysis


def distance(ours: Array, theirs: Array) -> np.ndarray:
    return 1 - (ours * theirs).sum(-1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(theirs, axis=-1)


def test_exactly_those_who_speak_get_a_vector(network: VoiceNetwork):
    analysis = embedded(network, ONE_BLOCK, 70, (0, 2, 20), (2, 15, 21), (1, 44, 69))
    got = (analysis.vectors != 1).any(axis=2)
    np.testing.assert_array_equal(got, analysis.activity.any(axis=1))
    assert np.isfinite(analysis.vectors).all()


def test_a_vector_is_that_of_the_speaker_s_own_frames(network: VoiceNetwork):
    """Of each window, computed alone from the frames of the whole recording at once."""
    stretches = ((0, 0, 27), (1, 25, 31), (0, 30, 52), (2, 40, 58), (1, 57, 75))
    analysis = embedded(network, ONE_BLOCK, 75, *stretches)
    masks = Masks(5, exclude_overlap=True)
    with torch.inference_mode():
        whole = _whole(network, recording(75))
        for index in range(0, len(analysis.vectors), 3):
            first = -(-index * RATE // FRAME)
            there = np.arange(first, min(first + SIZE // FRAME, whole.shape[2]))
            mask = masks(analysis.activity[index])[:, (there * FRAME - index * RATE) * FRAMES // SIZE]
            expected = network.vectors(whole[:, :, there], torch.from_numpy(mask)[None])[0].numpy()
            speaking = analysis.activity[index].any(axis=0)
            apart = np.abs(analysis.vectors[index] - expected)[speaking].max()
            assert apart < 0.02 * np.abs(expected).max(), (index, apart)


def _whole(network: VoiceNetwork, samples: np.ndarray) -> torch.Tensor:
    from processor.engines.diarize.shared import centred

    padded = np.pad(samples, (0, 240 + -len(samples) % FRAME))
    banks = network.filter_banks(torch.from_numpy(padded)[None, None])
    heard = (torch.arange(banks.shape[1]) * 160 < len(samples)).float()[None]
    return network.frames(centred(banks, heard, SIZE // FRAME))


def test_who_shares_the_pass_makes_no_difference(network: VoiceNetwork):
    stretches = ((0, 3, 44), (1, 40, 79))
    embedder = SharedEmbedder(network, MANY_BLOCKS, size=SIZE)
    alone, others = stage(80, *stretches), stage(61, (2, 1, 60))
    finish(alone[0], embedder)
    with_others = stage(80, *stretches)
    while not with_others[0].done:
        beside = others[0].pieces(2)
        own = with_others[0].pieces(embedder.room - len(beside))
        values = embedder([*beside, *own])
        for piece, value in zip(beside, values[: len(beside)], strict=True):
            others[0].take(piece.index, value)
        for piece, value in zip(own, values[len(beside) :], strict=True):
            with_others[0].take(piece.index, value)
    np.testing.assert_array_equal(with_others[1].vectors, alone[1].vectors)


def test_one_block_a_pass_or_many_is_the_same(network: VoiceNetwork):
    stretches = ((0, 3, 44), (1, 40, 79), (2, 60, 75))
    one, many = (embedded(network, tuning, 80, *stretches) for tuning in (ONE_BLOCK, MANY_BLOCKS))
    assert distance(one.vectors, many.vectors).max() < 1e-5


def test_a_pass_that_failed_is_made_again(network: VoiceNetwork):
    stretches = ((0, 0, 100),)
    embedding, analysis = stage(100, *stretches)
    embedder = SharedEmbedder(network, MANY_BLOCKS, size=SIZE)
    while not embedding.done:
        embedder(embedding.pieces(embedder.room))  # and what it found is lost
        pieces = embedding.pieces(2)
        for piece, value in zip(pieces, embedder(pieces), strict=True):
            embedding.take(piece.index, value)
    expected = embedded(network, MANY_BLOCKS, 100, *stretches)
    np.testing.assert_array_equal(analysis.vectors, expected.vectors)


def test_blocks_in_which_nobody_speaks_get_no_pass(network: VoiceNetwork):
    embedding, _ = stage(170, (0, 5, 12), (1, 140, 150))
    assert len(embedding.pieces(100)) == 2
    nobody, analysis = stage(60)
    assert (nobody.done, nobody.fraction, nobody.pieces(4)) == (True, 1.0, [])
    assert (analysis.vectors == 1).all()


def test_what_is_held_does_not_grow_with_the_recording(network: VoiceNetwork):
    embedding, _ = stage(300, (0, 0, 300))
    embedder = SharedEmbedder(network, ONE_BLOCK, size=SIZE)
    fractions = [embedding.fraction]
    while not embedding.done:
        [piece] = embedding.pieces(embedder.room)
        assert isinstance(piece, Block)
        [value] = embedder([piece])
        embedding.take(piece.index, value)
        assert len(piece.tails) <= 1
        assert sum(tail.numel() for tail in piece.tails.values()) <= 80 * 2 * SIZE // FRAME
        fractions.append(embedding.fraction)
    assert not piece.tails
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert fractions == sorted(fractions)


@pytest.mark.parametrize("seconds", [0.1, 0.5, 2.0, 9.9, 10.0, 10.4, 16.96, 16.97, 17.5, 33.0])
def test_recordings_of_any_length(network: VoiceNetwork, seconds: float):
    analysis = embedded(network, ONE_BLOCK, seconds, (0, 0, seconds), (1, seconds / 2, seconds))
    assert np.isfinite(analysis.vectors).all()
    assert (analysis.vectors[0, 0] != 1).any()


def test_activity_beyond_the_end_of_the_recording(network: VoiceNetwork):
    """Segmentation may hear somebody in the zeros that fill the last window."""
    analysis = embedded(network, ONE_BLOCK, 25.3, (0, 0, 40), (1, 25.31, 26))
    assert np.isfinite(analysis.vectors).all()


def test_silence_and_a_constant_give_vectors_without_nan(network: VoiceNetwork):
    for level in (0.0, 0.5):
        windows = Windows(np.full(40 * RATE, level, np.float32), SIZE, RATE)
        analysis = talk(windows, (0, 0, 40))
        finish(
            SharedEmbedding(windows, analysis, Masks(5, exclude_overlap=True)),
            SharedEmbedder(network, ONE_BLOCK, size=SIZE),
        )
        assert np.isfinite(analysis.vectors).all()


@pytest.mark.parametrize(
    ("seconds", "pays"), [(1, False), (10, False), (10.9, True), (14, True), (17, True), (300, True)]
)
def test_a_lone_window_is_cheaper_by_itself(seconds: float, pays: bool):
    assert stage(seconds, (0, 0, seconds))[0].pays is pays


def test_a_block_is_a_few_windows_long():
    assert 1.5 * SIZE < LENGTH * FRAME < 2 * SIZE

"""Pooling for all speakers at once is upstream's pooling for one after the other."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyannote.audio.models.blocks.pooling import StatsPool

from processor.engines.diarize.pooling import pool


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    time=st.integers(1, 40),
    mask_time=st.integers(1, 90),
    speech=st.floats(0, 1),
    level=st.sampled_from([0.0, 1.0, 100.0]),
)
def test_all_speakers_at_once_are_each_by_itself(seed: int, time: int, mask_time: int, speech: float, level: float):
    random = np.random.default_rng(seed)
    frames = torch.from_numpy((random.standard_normal((2, 5, time)) + level).astype(np.float32))
    masks = torch.from_numpy((random.random((2, 3, mask_time)) < speech).astype(np.float32))
    expected = StatsPool()(frames, weights=masks)
    torch.testing.assert_close(pool(frames, masks), expected, rtol=1e-4, atol=1e-4 * (1 + level / 10))


def test_a_speaker_of_one_frame_has_no_deviation():
    frames = torch.full((1, 4, 5), 1e3) + torch.arange(5)
    masks = torch.tensor([[[0.0, 0, 1, 0, 0], [0, 0, 0, 0, 0]]])
    vectors = pool(frames, masks)
    torch.testing.assert_close(vectors[0, 0], torch.tensor([1002.0] * 4 + [0.0] * 4))
    assert not vectors[0, 1].any()


def test_the_frames_are_left_as_they_are():
    frames = torch.randn(1, 4, 6)
    before = frames.clone()
    pool(frames, torch.ones(1, 2, 6))
    torch.testing.assert_close(frames, before)

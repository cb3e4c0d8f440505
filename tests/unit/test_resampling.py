"""Resampling block by block is resampling at once."""

import numpy as np
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.audio import SAMPLE_RATE
from processor.resampling import resampled, resampler


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    rate=st.sampled_from([8_000, 11_025, 12_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000]),
    sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=8),
)
def test_resampling_in_blocks_of_any_sizes_is_resampling_at_once(rate: int, sizes: list[int]) -> None:
    source = np.random.default_rng(7).uniform(-1, 1, sum(sizes)).astype(np.float32)
    stream = resampler(rate)
    parts = [stream.push(block) for block in np.split(source, np.cumsum(sizes)[:-1])]
    found = np.concatenate([*parts, stream.finish()])

    wanted = torchaudio.functional.resample(torch.from_numpy(source), rate, SAMPLE_RATE).numpy()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    rates=st.lists(st.sampled_from([8_000, 16_000, 44_100]), min_size=1, max_size=4),
    tracks=st.integers(1, 3),
)
def test_tracks_are_resampled_each_for_itself(rates: list[int], tracks: int) -> None:
    random = np.random.default_rng(7)
    blocks = [(rate, random.uniform(-1, 1, (tracks, 2000)).astype(np.float32)) for rate in rates]
    together = np.concatenate(list(resampled(iter(blocks))), axis=1)
    for number, track in enumerate(together):
        alone = np.concatenate(list(resampled((rate, block[number : number + 1]) for rate, block in blocks)), axis=1)
        np.testing.assert_array_equal(track, alone[0])

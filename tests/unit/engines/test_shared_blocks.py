"""Where blocks lie, and what their filter banks are centred by."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from processor.engines.diarize.blocks import BANKS, FRAME, LENGTH, MARGIN, Blocks
from processor.engines.diarize.shared import centred

REACH = 25
SAMPLES = st.integers(1, 40 * LENGTH * FRAME)


@given(samples=SAMPLES)
def test_every_frame_is_taken_from_one_block_that_has_it(samples: int):
    blocks = Blocks.over(samples)
    assert blocks.frames == -(-samples // FRAME)
    assert (blocks.bounds[0], blocks.bounds[-1]) == (0, blocks.frames)
    assert len(blocks.bounds) == len(blocks.starts) + 1
    assert (np.diff(blocks.bounds) > 0).all()
    assert (blocks.starts <= blocks.bounds[:-1]).all()
    assert (blocks.bounds[1:] <= blocks.starts + LENGTH).all()


@given(samples=SAMPLES)
def test_no_margin_is_used_but_where_the_recording_ends(samples: int):
    blocks = Blocks.over(samples)
    assert (blocks.bounds[1:-1] - blocks.starts[1:] >= MARGIN).all()
    assert (blocks.starts[:-1] + LENGTH - blocks.bounds[1:-1] >= MARGIN).all()


@given(samples=SAMPLES)
def test_there_are_no_more_blocks_than_it_takes(samples: int):
    blocks = Blocks.over(samples)
    fewer = len(blocks.starts) - 1
    assert fewer == 0 or fewer * (LENGTH - 2 * MARGIN) + 2 * MARGIN < blocks.frames


@given(samples=SAMPLES)
def test_a_frame_is_found_in_its_block(samples: int):
    blocks = Blocks.over(samples)
    for index, (low, high) in enumerate(zip(blocks.bounds[:-1], blocks.bounds[1:], strict=True)):
        assert list(blocks.at(np.array([low, high - 1]))) == [index, index]


def banks(frames: int, *, mels: int = 5) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(frames).normal(size=(1, frames * BANKS, mels)).astype(np.float32))


def test_banks_are_centred_by_the_mean_of_the_windows_around_them():
    values, frames, half = banks(200), 200, REACH // 2
    found = centred(values, torch.ones(1, frames * BANKS), REACH)
    frame = 100
    means = values.reshape(frames, BANKS, -1).mean(dim=1)
    windows = [means[middle - half : middle + half + 1].mean(dim=0) for middle in range(frame - half, frame + half + 1)]
    expected = values[0, frame * BANKS] - torch.stack(windows).mean(dim=0)
    torch.testing.assert_close(found[0, frame * BANKS], expected, atol=1e-5, rtol=0)


def test_a_colour_that_does_not_change_is_taken_away_everywhere():
    values, heard = banks(60), torch.ones(1, 60 * BANKS)
    coloured = values + torch.linspace(-20, 20, values.shape[2])
    torch.testing.assert_close(centred(coloured, heard, REACH), centred(values, heard, REACH), atol=1e-4, rtol=0)


def test_what_is_not_heard_counts_for_nothing():
    values, heard = banks(60), torch.ones(1, 60 * BANKS)
    heard[:, : 20 * BANKS + 3] = 0
    loud = torch.where(heard[..., None] > 0, values, -1000.0)
    found = centred(loud, heard, REACH)
    assert not found[heard == 0].any()
    torch.testing.assert_close(found, centred(values, heard, REACH))

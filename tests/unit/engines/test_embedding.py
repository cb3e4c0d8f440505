"""Which frames make a speaker's vector, by upstream's rule."""

from types import SimpleNamespace

import numpy as np

from processor.engines.diarize.embedding import Embedder

FRAMES, SPEAKERS, SIZE = 10, 3, 100
NEEDED = 15
"""Samples the network wants for one vector: two frames."""


def embedder(*, exclude_overlap: bool) -> Embedder:
    network = SimpleNamespace(dimension=4, min_num_samples=NEEDED)
    return Embedder(network, size=SIZE, frames=FRAMES, speakers=SPEAKERS, exclude_overlap=exclude_overlap)


def activity(*speakers: str) -> np.ndarray:
    return np.array([[float(frame == "#") for frame in speaker] for speaker in speakers], np.float32).T


def test_overlap_is_left_out_where_enough_is_left():
    masks = embedder(exclude_overlap=True).masks(activity("######....", "...#######", ".........."))
    np.testing.assert_array_equal(masks.T, activity("###.......", "......####", ".........."))


def test_overlap_is_used_where_too_little_is_left_without():
    masks = embedder(exclude_overlap=True).masks(activity("#####.....", "..########", ".........."))
    np.testing.assert_array_equal(masks.T, activity("#####.....", ".....#####", ".........."))


def test_overlap_is_used_where_the_pipeline_does_not_exclude_it():
    both = activity("#####.....", "..########", "..........")
    np.testing.assert_array_equal(embedder(exclude_overlap=False).masks(both).T, both)

"""Which frames make a speaker's vector, by upstream's rule."""

import numpy as np

from processor.engines.diarize.embedding import Masks

NEEDED = 2


def activity(*speakers: str) -> np.ndarray:
    return np.array([[frame == "#" for frame in speaker] for speaker in speakers], np.uint8).T


def test_overlap_is_left_out_where_enough_is_left():
    masks = Masks(NEEDED, exclude_overlap=True)(activity("######....", "...#######", ".........."))
    np.testing.assert_array_equal(masks.T, activity("###.......", "......####", ".........."))


def test_overlap_is_used_where_too_little_is_left_without():
    masks = Masks(NEEDED, exclude_overlap=True)(activity("#####.....", "..########", ".........."))
    np.testing.assert_array_equal(masks.T, activity("#####.....", ".....#####", ".........."))


def test_overlap_is_used_where_the_pipeline_does_not_exclude_it():
    both = activity("#####.....", "..########", "..........")
    np.testing.assert_array_equal(Masks(NEEDED, exclude_overlap=False)(both).T, both)

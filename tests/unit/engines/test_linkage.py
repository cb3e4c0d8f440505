"""Centroid linkage in linear memory against scipy's."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage

from processor.engines.diarize.linkage import EXACTLY_UP_TO, centroid_linkage
from schemas.errors import JobCancelled

THRESHOLD = 0.6
WAYS = {"all distances at once": {"exactly_up_to": 1}, "linear memory": {"exactly_up_to": 1, "square_up_to": 1}}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=list(WAYS))


def voices(count: int, seed: int, speakers: int = 5, dimension: int = 16) -> np.ndarray:
    """Unit vectors around some directions."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(speakers, dimension))
    vectors = centres[rng.integers(speakers, size=count)] + rng.normal(size=(count, dimension)) * rng.uniform(0, 1)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clusters(tree: np.ndarray, height: float = THRESHOLD) -> set[frozenset[int]]:
    found = fcluster(tree, height, criterion="distance")
    return {frozenset(np.flatnonzero(found == each).tolist()) for each in set(found.tolist())}


@ways
@settings(max_examples=60, deadline=None)
@given(count=st.integers(2, 120), seed=st.integers(0, 10_000))
def test_the_dendrogram_is_scipys(way: dict[str, int], count: int, seed: int):
    vectors = voices(count, seed)
    ours, theirs = centroid_linkage(vectors, **way), linkage(vectors, method="centroid")
    np.testing.assert_array_equal(ours[:, [0, 1, 3]], theirs[:, [0, 1, 3]])
    np.testing.assert_allclose(ours[:, 2], theirs[:, 2], atol=1e-7)


@ways
@settings(max_examples=60, deadline=None)
@given(count=st.integers(2, 40), copies=st.integers(2, 4), seed=st.integers(0, 10_000))
def test_what_is_said_twice_does_not_change_the_cut(way: dict[str, int], count: int, copies: int, seed: int):
    """Equal vectors tie with each other, and in all their distances."""
    vectors = np.random.default_rng(seed).permutation(np.tile(voices(count, seed), (copies, 1)))
    assert clusters(centroid_linkage(vectors, **way)) == clusters(linkage(vectors, method="centroid"))


@ways
def test_vectors_that_are_all_the_same(way: dict[str, int]):
    tree = centroid_linkage(np.ones((70, 8), np.float32), **way)
    np.testing.assert_allclose(tree[:, 2], 0, atol=1e-6)
    assert tree[-1, 3] == 70


@ways
@pytest.mark.parametrize("axes", [2, 3, 8])
def test_ties_that_no_merge_resolves(way: dict[str, int], axes: int):
    """All corners equally far from each other: any order is right, and the heights are the same."""
    corners = np.eye(axes, dtype=np.float32)
    ours, theirs = centroid_linkage(corners, **way), linkage(corners, method="centroid")
    np.testing.assert_allclose(ours[0, 2], theirs[0, 2], atol=1e-12)
    assert clusters(ours) == clusters(theirs)
    assert clusters(ours, 2.0) == clusters(theirs, 2.0)


def test_many_vectors_are_clustered_as_few_are():
    """Past the first limit, several blocks of rows and several sweeps."""
    vectors = voices(EXACTLY_UP_TO + 300, seed=1)
    theirs = linkage(vectors, method="centroid")
    for tree in (centroid_linkage(vectors), centroid_linkage(vectors, square_up_to=1)):
        np.testing.assert_array_equal(tree[:, [0, 1, 3]], theirs[:, [0, 1, 3]])


def test_it_ends_when_cancelled():
    asked: Iterator[bool] = iter([False, True])

    def check() -> None:
        if next(asked):
            raise JobCancelled

    with pytest.raises(JobCancelled):
        centroid_linkage(voices(EXACTLY_UP_TO + 1, seed=2), check, square_up_to=1)

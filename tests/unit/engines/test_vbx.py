"""VBx by blocks against upstream's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyannote.audio.utils.vbx import cluster_vbx

from processor.engines.diarize import vbx
from processor.engines.diarize.vbx import TOLD_PRIOR, responsibilities

PHI = np.linspace(8, 0.5, 12)


def mixture(count: int, clusters: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Clusters to begin with, more than there are speakers, and features."""
    rng = np.random.default_rng(seed)
    speakers = rng.normal(size=(3, len(PHI))) * np.sqrt(PHI)
    features = speakers[rng.integers(3, size=count)] + rng.normal(size=(count, len(PHI)))
    return np.unique(rng.integers(clusters, size=count), return_inverse=True)[1], features


@settings(max_examples=50, deadline=None)
@given(count=st.integers(2, 200), clusters=st.integers(1, 30), seed=st.integers(0, 10_000))
@pytest.mark.parametrize("block", [1, 100, 10_000])
def test_shares_and_priors_are_upstreams(block: int, count: int, clusters: int, seed: int):
    begin, features = mixture(count, clusters, seed)
    shares, priors = cluster_vbx(begin, features, PHI, Fa=0.07, Fb=0.8, maxIters=20)
    kept = priors > TOLD_PRIOR
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vbx, "_BLOCK", block)
        ours, left = responsibilities(begin, features, PHI, 0.07, 0.8, upstream_up_to=0)
    np.testing.assert_allclose(left, priors[kept], rtol=1e-6)
    np.testing.assert_allclose(ours, shares[:, kept], atol=1e-8)


def test_few_are_left_to_upstream():
    begin, features = mixture(50, 5, 1)
    theirs = cluster_vbx(begin, features, PHI, Fa=0.07, Fb=0.8, maxIters=20)
    for ours, stock in zip(responsibilities(begin, features, PHI, 0.07, 0.8), theirs, strict=True):
        np.testing.assert_array_equal(ours, stock)

"""The variational Bayes of VBx in memory that does not grow with vectors times clusters."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from pyannote.audio.utils.vbx import cluster_vbx

UPSTREAM_UP_TO = 250_000
"""Vectors times clusters for which upstream's own is used: it holds some eight such arrays at once, and takes twice the time."""
KEPT_PRIOR = 1e-7
"""Upstream drops the speakers whose prior is not above this."""

TOLD_PRIOR = KEPT_PRIOR / 1000
"""Ours drops the others; those in between tell how near a tie it was."""

_BLOCK = 1_000_000
_ITERATIONS = 20
_SMOOTHING = 7.0
_ENOUGH = 1e-4

Array = npt.NDArray[Any]


def responsibilities(
    clusters: Array,
    features: Array,
    phi: Array,
    fa: float,
    fb: float,
    cancelled: Callable[[], None] = lambda: None,
    upstream_up_to: int = UPSTREAM_UP_TO,
) -> tuple[Array, Array]:
    """What `pyannote.audio.utils.vbx.cluster_vbx` returns of `clusters` to begin with: shares (vectors, speakers), priors.

    Of many clusters, those whose prior is not above TOLD_PRIOR are left out of both.
    """
    if len(clusters) * (int(clusters.max()) + 1) <= upstream_up_to:
        upstream: Any = cluster_vbx
        return upstream(clusters, features, phi, Fa=fa, Fb=fb, maxIters=_ITERATIONS, init_smoothing=_SMOOTHING)
    return _Mixture(clusters, features, phi, fa, fb).settled(cancelled)


class _Mixture:
    """Upstream's iteration, block of vectors by block; the names are those of the paper (Landini et al., 2022)."""

    def __init__(self, clusters: Array, features: Array, phi: Array, fa: float, fb: float) -> None:
        self._clusters, self._phi, self._fa, self._fb = clusters.astype(int), phi, fa, fb
        self._rho = features * np.sqrt(phi)
        self._g = -0.5 * (np.sum(features**2, axis=1, keepdims=True) + features.shape[1] * np.log(2 * np.pi))
        self._speakers = int(clusters.max()) + 1
        self._pi = np.full(self._speakers, 1 / self._speakers)

    def settled(self, cancelled: Callable[[], None]) -> tuple[Array, Array]:
        self._counts, self._sums = self._begin()
        before = -np.inf
        for iteration in range(_ITERATIONS):
            cancelled()
            self._model()
            bound = self._iterate()
            if iteration and bound - before < _ENOUGH:
                break
            before = bound
        kept = np.flatnonzero(self._pi > TOLD_PRIOR)
        shares = np.concatenate([gamma[:, kept] for gamma, _ in self._expected(self._pi_before)])
        return shares, self._pi[kept]

    def _begin(self) -> tuple[Array, Array]:
        """Sums over the softened assignment to `clusters`: much to one's own, the same little to each other."""
        own, other = np.exp(_SMOOTHING), 1.0
        total = own + (self._speakers - 1) * other
        counts = np.bincount(self._clusters, minlength=self._speakers).astype(float)
        sums = np.zeros((self._speakers, self._rho.shape[1]))
        np.add.at(sums, self._clusters, self._rho)
        every = self._rho.sum(axis=0)
        return (
            (counts * (own - other) + len(self._clusters) * other) / total,
            (sums * (own - other) + every * other) / total,
        )

    def _model(self) -> None:
        """Each speaker's mean and its precision, from the sums."""
        self._inverse = 1 / (1 + self._fa / self._fb * self._counts[:, None] * self._phi)
        self._alpha = self._fa / self._fb * self._inverse * self._sums
        self._offset = 0.5 * (self._inverse + self._alpha**2) @ self._phi

    def _iterate(self) -> float:
        """One more assignment, kept as sums and priors. Returns the bound that it improves."""
        counts, sums, likelihood, start = np.zeros(self._speakers), np.zeros_like(self._sums), 0.0, 0
        for gamma, marginal in self._expected(self._pi):
            counts += gamma.sum(axis=0)
            sums += gamma.T @ self._rho[start : start + len(gamma)]
            likelihood += float(marginal.sum())
            start += len(gamma)
        self._counts, self._sums, self._pi_before, self._pi = counts, sums, self._pi, counts / counts.sum()
        prior = np.sum(np.log(self._inverse) - self._inverse - self._alpha**2 + 1)
        return likelihood + self._fb * 0.5 * float(prior)

    def _expected(self, pi: Array) -> Iterator[tuple[Array, Array]]:
        """Shares of the speakers in some vectors, and the vectors' likelihoods."""
        rows = max(1, _BLOCK // self._speakers)
        for start in range(0, len(self._rho), rows):
            block = slice(start, start + rows)
            score = self._fa * (self._rho[block] @ self._alpha.T - self._offset + self._g[block]) + np.log(pi + 1e-8)
            most = score.max(axis=1, keepdims=True)
            shares = np.exp(score - most)
            total = shares.sum(axis=1, keepdims=True)
            shares /= total
            yield shares, most + np.log(total)

"""Which vectors belong together, from the closest pair to one cluster of all: centroid linkage in linear memory."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.cluster.hierarchy import linkage

EXACTLY_UP_TO = 1000
"""Vectors that are left to scipy alone."""
SQUARE_UP_TO = 6000
"""Vectors whose distances are all held at once: 144 MB, and half a second in which scipy keeps the interpreter to itself."""
_ROWS = 512
"""Rows of the square of distances that are computed at once."""
_CROWDED = 0.75
"""The share of living clusters below which the dead ones are swept out."""

Array = npt.NDArray[np.float64]


def centroid_linkage(
    vectors: npt.NDArray[Any],
    cancelled: Callable[[], None] = lambda: None,
    exactly_up_to: int = EXACTLY_UP_TO,
    square_up_to: int = SQUARE_UP_TO,
) -> Array:
    """The dendrogram of `vectors` (count, dimension), as `scipy.cluster.hierarchy.linkage(method="centroid")` tells it.

    Of many vectors, distances are good to 1e-15 for unit vectors, and scipy may choose another of pairs that tie; equal
    vectors may come out 1e-8 apart. `cancelled` is called now and then, and may raise.
    """
    if len(vectors) <= exactly_up_to:
        return linkage(vectors, method="centroid", metric="euclidean")
    points = torch.from_numpy(vectors.astype(np.float64))
    if len(vectors) <= square_up_to:
        return linkage(_distances(points).numpy(), method="centroid")
    return _Merging(points).dendrogram(cancelled)


def _distances(points: torch.Tensor) -> torch.Tensor:
    """Of all pairs, as scipy's `pdist` orders them: by products of matrices, which takes a fifth of its time."""
    count = len(points)
    norms = (points * points).sum(1)
    found, filled = torch.empty(count * (count - 1) // 2, dtype=points.dtype), 0
    for start in range(0, count, _ROWS):
        rows = points[start : start + _ROWS]
        block = torch.addmm(norms[start:].expand(len(rows), -1), rows, points[start:].T, alpha=-2)
        block += norms[start : start + _ROWS, None]
        block = block.clamp_(min=0).sqrt_()
        for index, row in enumerate(block):
            found[filled : (filled := filled + len(row) - index - 1)] = row[index + 1 :]
    return found


class _Merging:
    """Clusters by their centroids, each with a guess of its nearest neighbour.

    After Müllner's generic algorithm (Modern hierarchical, agglomerative clustering algorithms, 2011): a distance to a
    neighbour that has since been merged away is kept as a lower bound, and only looked into when it becomes the smallest
    of all. Distances to a centroid are one product of a matrix and a vector instead of a row of a square that is kept.
    """

    def __init__(self, points: torch.Tensor) -> None:
        count = len(points)
        self._points = points
        self._norms = (points * points).sum(1)  # infinite once a cluster is dead, and so are distances to it
        self._ids, self._sizes = list(range(count)), [1] * count
        self._distance = torch.empty_like(self._norms)  # squared, to the nearest, or a lower bound of that
        self._second = torch.empty_like(self._norms)  # a lower bound of the squared distance to any other
        self._nearest = torch.empty(count, dtype=torch.long, device=points.device)
        self._sure = torch.ones(count, dtype=torch.bool, device=points.device)
        for start in range(0, count, _ROWS):
            rows = torch.arange(start, min(start + _ROWS, count), device=points.device)
            distances = torch.addmm(self._norms.expand(len(rows), count), points[rows], points.T, alpha=-2)
            distances += self._norms[rows, None]
            distances[torch.arange(len(rows)), rows] = torch.inf
            two, where = distances.topk(min(2, count), dim=1, largest=False)
            self._distance[rows], self._nearest[rows] = two[:, 0], where[:, 0]
            self._second[rows] = two[:, -1]

    def dendrogram(self, cancelled: Callable[[], None]) -> Array:
        count = len(self._points)
        merges = np.empty((count - 1, 4))
        for step, alive in enumerate(range(count, 1, -1)):
            if step % _ROWS == 0:
                cancelled()
            if alive < _CROWDED * len(self._points):
                self._sweep()
            merges[step] = self._merge(count + step)
        return merges

    def _merge(self, id: int) -> tuple[int, int, float, int]:
        """Make one cluster, named `id`, of the closest two. Returns a row of the dendrogram."""
        one = self._closest()
        other = int(self._nearest[one])
        height = max(float(self._distance[one]), 0) ** 0.5
        left, right = sorted((self._ids[one], self._ids[other]))
        size = self._sizes[one] + self._sizes[other]
        share = self._sizes[one] / size
        self._points[one] = share * self._points[one] + (1 - share) * self._points[other]
        self._norms[one] = self._points[one] @ self._points[one]
        self._norms[other] = self._distance[other] = torch.inf
        self._ids[one], self._sizes[one] = id, size
        self._tell_others(one, other, self._look_around(one))
        return left, right, height, size

    def _closest(self) -> int:
        while not self._sure[closest := int(self._distance.argmin())]:
            self._look_around(closest)
        return closest

    def _look_around(self, row: int) -> torch.Tensor:
        """Find the nearest neighbour of a cluster. Returns its distances to all."""
        distances = torch.addmv(self._norms, self._points, self._points[row], alpha=-2)
        distances += float(self._norms[row])
        distances[row] = torch.inf
        two, where = distances.topk(2, largest=False)
        self._distance[row], self._second[row] = two
        self._nearest[row], self._sure[row] = where[0], True
        return distances

    def _tell_others(self, new: int, dead: int, distances: torch.Tensor) -> None:
        """There is a cluster at `new`, and none at `dead` any more: who is whose neighbour now?"""
        lost = (self._nearest == new) | (self._nearest == dead)
        known = torch.where(lost, self._second, self._distance)  # of all but the new one
        nearer = distances <= known
        nearer[new] = lost[new] = False
        # A neighbour that was lost leaves the bound of the second; one that was only overtaken becomes the second.
        self._second = torch.where(nearer & ~lost, self._distance, torch.minimum(self._second, distances))
        self._second = torch.where(nearer & lost, known, self._second)
        self._distance = torch.where(nearer, distances, known)
        self._nearest.masked_fill_(nearer, new)
        self._sure = (self._sure & ~lost) | nearer
        self._distance[dead] = torch.inf

    def _sweep(self) -> None:
        """Leave the dead behind."""
        alive = torch.isfinite(self._norms)
        keep = alive.nonzero()[:, 0]
        place = alive.cumsum(0) - 1
        self._sure = (self._sure & alive[self._nearest])[keep]
        self._nearest = place[self._nearest[keep]]
        self._points, self._norms = self._points[keep], self._norms[keep]
        self._distance, self._second = self._distance[keep], self._second[keep]
        kept: list[int] = keep.tolist()
        self._ids, self._sizes = [self._ids[i] for i in kept], [self._sizes[i] for i in kept]

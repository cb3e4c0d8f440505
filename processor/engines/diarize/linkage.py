"""Which vectors belong together, from the closest pair to one cluster of all: centroid linkage in linear memory."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.cluster.hierarchy import linkage

from processor.engines.diarize.cores import one_core

EXACTLY_UP_TO = 1000
"""Vectors that are left to scipy alone."""
SQUARE_UP_TO = 6000
"""Vectors whose distances are all held at once: 144 MB, and half a second in which scipy keeps the interpreter to itself."""
_ROWS = 512
"""Rows of the square of distances that are computed at once."""
_SKETCH = 64
"""Coordinates that a bound of a distance looks at, after a rotation that puts what vectors differ in most first."""
_MARGIN = 1e-5
"""What float32 may be wrong by in a squared distance of vectors no longer than one, many times over."""
_PROBED = 32
"""Neighbours with the smallest bounds, whose distances are computed first."""
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
    with one_core():
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
    of all. No distances are kept. To read all centroids for each merge would take most of the time, so a sketch of them is
    read, which bounds distances from below; a distance itself is computed where the bound cannot rule it out.
    All distances are squared, and vectors are no longer than one.
    """

    def __init__(self, points: torch.Tensor) -> None:
        count = len(points)
        _, axes = torch.linalg.eigh(points.T @ points)
        self._points = points @ axes.flip(1)
        self._sketch = self._points[:, :_SKETCH].float().contiguous()
        self._rest = self._points[:, _SKETCH:].norm(dim=1).float()
        self._norms = (self._sketch * self._sketch).sum(1)  # infinite once a cluster is dead, and so are bounds to it
        self._ids, self._sizes = list(range(count)), [1] * count
        self._distance = torch.empty(count, dtype=points.dtype)  # to the nearest, or a lower bound of that
        self._second = torch.empty_like(self._distance)  # a lower bound of the distance to any other
        self._nearest = torch.empty(count, dtype=torch.long)
        self._sure = torch.ones(count, dtype=torch.bool)

    def dendrogram(self, cancelled: Callable[[], None]) -> Array:
        count = len(self._points)
        lengths = (self._points * self._points).sum(1)
        for start in range(0, count, _ROWS):
            cancelled()
            self._begin(start, min(start + _ROWS, count), lengths)
        merges = np.empty((count - 1, 4))
        for step, alive in enumerate(range(count, 1, -1)):
            if step % _ROWS == 0:
                cancelled()
            if alive < _CROWDED * len(self._points):
                self._sweep()
            merges[step] = self._merge(count + step)
        return merges

    def _begin(self, start: int, end: int, lengths: torch.Tensor) -> None:
        """Find the nearest neighbours of some points; `lengths` are those of all, squared."""
        distances = torch.addmm(lengths.expand(end - start, -1), self._points[start:end], self._points.T, alpha=-2)
        distances += lengths[start:end, None]
        distances[torch.arange(end - start), torch.arange(start, end)] = torch.inf
        two, where = distances.topk(2, dim=1, largest=False)
        self._distance[start:end], self._nearest[start:end], self._second[start:end] = two[:, 0], where[:, 0], two[:, 1]

    def _merge(self, id: int) -> tuple[int, int, float, int]:
        """Make one cluster, named `id`, of the closest two. Returns a row of the dendrogram."""
        one = self._closest()
        other = int(self._nearest[one])
        height = max(float(self._distance[one]), 0) ** 0.5
        left, right = sorted((self._ids[one], self._ids[other]))
        size = self._sizes[one] + self._sizes[other]
        share = self._sizes[one] / size
        self._put(one, share * self._points[one] + (1 - share) * self._points[other])
        self._norms[other] = torch.inf
        self._ids[one], self._sizes[one] = id, size
        bounds = self._bounds(one)
        self._look_around(one, bounds)
        self._tell_others(one, other, bounds)
        return left, right, height, size

    def _put(self, row: int, point: torch.Tensor) -> None:
        self._points[row] = point
        self._sketch[row] = point[:_SKETCH]
        self._rest[row] = point[_SKETCH:].norm()
        self._norms[row] = self._sketch[row] @ self._sketch[row]

    def _closest(self) -> int:
        while not self._sure[closest := int(self._distance.argmin())]:
            self._look_around(closest, self._bounds(closest))
        return closest

    def _bounds(self, row: int) -> torch.Tensor:
        """What the distances to all others are not below: exact in the sketch, and in the rest a difference of lengths."""
        bounds = torch.addmv(self._norms, self._sketch, self._sketch[row], alpha=-2)
        bounds += (self._rest - self._rest[row]).square_().add_(self._norms[row] - _MARGIN)
        bounds[row] = torch.inf
        return bounds

    def _exactly(self, row: int, others: torch.Tensor) -> torch.Tensor:
        return (self._points[others] - self._points[row]).square_().sum(1)

    def _look_around(self, row: int, bounds: torch.Tensor) -> None:
        """Find the nearest neighbour of a cluster."""
        low, others = bounds.topk(min(_PROBED, len(bounds)), largest=False)
        distances, unseen = self._exactly(row, others), low[-1].double()
        if (best := distances.min()) > unseen:
            others = (bounds <= best).nonzero()[:, 0]
            distances, unseen = self._exactly(row, others), best
        distances = torch.where(torch.isfinite(bounds[others]), distances, torch.inf)
        two, where = distances.topk(min(2, len(distances)), largest=False)
        self._distance[row], self._nearest[row], self._sure[row] = two[0], others[where[0]], True
        self._second[row] = torch.minimum(two[-1], unseen) if len(two) == 2 else unseen

    def _tell_others(self, new: int, dead: int, bounds: torch.Tensor) -> None:
        """There is a cluster at `new`, and none at `dead` any more: who is whose neighbour now?"""
        lost = (self._nearest == new) | (self._nearest == dead)
        known = torch.where(lost, self._second, self._distance)  # of all but the new one
        near = bounds < known  # which no dead one is
        others = near.nonzero()[:, 0]
        distances = bounds.double()
        distances[others] = self._exactly(new, others)
        nearer = near & (distances <= known)
        # A neighbour that was lost leaves the bound of the second; one that was only overtaken becomes the second.
        second = torch.minimum(self._second, distances)
        second = torch.where(nearer, torch.where(lost, known, self._distance), second)
        self._second, self._distance = second, torch.where(nearer, distances, known)
        self._nearest.masked_fill_(nearer, new)
        self._sure = (self._sure & ~lost) | nearer
        self._distance[dead] = self._second[dead] = torch.inf  # both: a dead one may still lose its neighbour

    def _sweep(self) -> None:
        """Leave the dead behind."""
        alive = torch.isfinite(self._norms)
        keep = alive.nonzero()[:, 0]
        place = alive.cumsum(0) - 1
        self._sure = (self._sure & alive[self._nearest])[keep]
        self._nearest = place[self._nearest[keep]]
        self._points, self._sketch, self._rest = self._points[keep], self._sketch[keep], self._rest[keep]
        self._norms, self._distance, self._second = self._norms[keep], self._distance[keep], self._second[keep]
        kept: list[int] = keep.tolist()
        self._ids, self._sizes = [self._ids[i] for i in kept], [self._sizes[i] for i in kept]

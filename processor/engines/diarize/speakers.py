"""Which of the recording's speakers each speaker of a window is: upstream's clustering, in linear memory."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import numpy as np
import numpy.typing as npt
from pyannote.audio.pipelines.clustering import AgglomerativeClustering, VBxClustering
from pyannote.core import SlidingWindowFeature

from processor.engines.diarize.linkage import centroid_linkage
from processor.engines.diarize.vbx import responsibilities

Array = npt.NDArray[Any]
Function = Callable[..., Any]


UNBOUNDED = {"num_clusters": None, "min_clusters": 1, "max_clusters": np.inf}


@dataclass(frozen=True, slots=True)
class Clusters:
    """What a clustering found, and what it saw on the way."""

    assigned: npt.NDArray[np.int64]
    """The cluster of each speaker of a window, negative for none: (windows, speakers)."""
    similarity: Array
    """Of each speaker of a window to each cluster, the larger the nearer: (windows, speakers, clusters)."""
    centroids: Array | None
    """(clusters, dimension)"""
    tree: Array | None = None
    """The dendrogram as scipy's linkages tell it, where there is one."""
    priors: Array | None = None
    """VBx's, of the speakers it considered at the end."""


def clustered(
    clusterer: Any,
    vectors: Array,
    activity: SlidingWindowFeature,
    bounds: dict[str, Any],
    cancelled: Function,
    known: Array | None = None,
) -> Clusters:
    """Call upstream's `clusterer`, its code unchanged but for the functions that take memory in the square.

    `bounds` are num_clusters, min_clusters and max_clusters; `cancelled` is called now and then, and may raise. `known`: the
    dendrogram of these vectors.
    """
    seen: dict[str, Array] = {}

    def linkage(vectors: Array, method: str, metric: str) -> Array:
        if known is not None:
            tree: Array = known
        elif (method, metric) != ("centroid", "euclidean"):
            tree = AgglomerativeClustering.cluster.__globals__["linkage"](vectors, method=method, metric=metric)
        else:
            tree = centroid_linkage(vectors, cancelled)
        cancelled()
        seen["tree"] = tree
        return tree

    def cluster_vbx(clusters: Array, features: Array, phi: Array, Fa: float, Fb: float, maxIters: int) -> Any:
        shares, priors = responsibilities(clusters, features, phi, Fa, Fb, cancelled)
        cancelled()
        seen["priors"] = priors
        return shares, priors

    call: Function = clusterer
    if isinstance(clusterer, VBxClustering):
        call = _with(VBxClustering.__call__, linkage=linkage, cluster_vbx=cluster_vbx).__get__(clusterer)
    elif isinstance(clusterer, AgglomerativeClustering):
        call = copy.copy(clusterer)
        vars(call)["cluster"] = _with(AgglomerativeClustering.cluster, linkage=linkage).__get__(call)
    assigned, similarity, centroids = call(embeddings=vectors, segmentations=activity, **bounds)
    return Clusters(np.asarray(assigned, dtype=np.int64), similarity, centroids, **seen)


def _with(function: Function, **others: Function) -> Any:
    """`function` with other functions in the place of those of its module."""
    assert isinstance(function, FunctionType)  # noqa: S101
    return FunctionType(
        function.__code__,
        {**function.__globals__, **others},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )

"""Whether the number of speakers might as well have been another one."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from pyannote.core import SlidingWindowFeature
from scipy.optimize import linear_sum_assignment

from processor.engines.diarize.speakers import UNBOUNDED, Array, Clusters, clustered
from processor.engines.diarize.vbx import KEPT_PRIOR

HEIGHT_MARGIN = 0.05
"""A merge of the dendrogram so near to the threshold, relative to it, may come out the other way."""
PRIOR_MARGIN = 100.0
"""VBx's speakers whose prior is within this factor of the cut may come out the other way."""

FEWEST_PRINTS = 10
"""A speaker of VBx's with fewer voice prints, one a second or so, is as likely to be a splinter of somebody else."""
NO_MATTER = 0.01
"""The share of all voice prints below which a splinter changes little."""

SWAY = (0.85, 1.15)
"""Factors to VBx's Fa, the weight of what was heard against the prior, under which the speakers should stay who they are."""
SWAYED = 0.002
"""The share of voice prints that may change speakers all the same."""


def risky(clusters: Clusters, clusterer: Any) -> bool:
    """Of a clustering that starts from a dendrogram alone, its cut decides; of VBx, what becomes of the priors."""
    if clusters.priors is not None:
        nearness = np.abs(np.log(np.maximum(clusters.priors, 1e-300) / KEPT_PRIOR))
        return bool((nearness < np.log(PRIOR_MARGIN)).any()) or _splintered(clusters)
    if clusters.tree is not None:
        return bool((np.abs(clusters.tree[:, 2] - clusterer.threshold) < HEIGHT_MARGIN * clusterer.threshold).any())
    return False


def _splintered(clusters: Clusters) -> bool:
    if clusters.priors is None or clusters.tree is None:
        return False
    prints = len(clusters.tree) + 1
    few = (clusters.priors > NO_MATTER) & (clusters.priors * prints < FEWEST_PRINTS)
    return bool(few.any()) and len(clusters.priors) > 1


def unsteady(
    clusters: Clusters, clusterer: Any, vectors: Array, activity: SlidingWindowFeature, cancelled: Callable[[], None]
) -> bool:
    """Whether VBx, swayed a little, would have given more than SWAYED of the voice prints to others."""
    if clusters.priors is None:
        return False
    for factor in SWAY:
        swayed = copy.copy(clusterer)
        vars(swayed)["Fa"] = clusterer.Fa * factor  # before the hyper-parameters, which the copy shares
        other = clustered(swayed, vectors, activity, UNBOUNDED, cancelled, clusters.tree)
        if _disagreement(clusters.assigned, other.assigned) > SWAYED:
            return True
    return False


def _disagreement(ours: Array, theirs: Array) -> float:
    """The share of voice prints that are of another cluster, whatever the clusters are called."""
    there = ours >= 0
    pairs = np.zeros((ours.max(initial=0) + 1, theirs.max(initial=0) + 1))
    np.add.at(pairs, (ours[there], np.maximum(theirs[there], 0)), 1)
    same = pairs[linear_sum_assignment(pairs, maximize=True)].sum()
    return float(1 - same / max(1, there.sum()))

"""Whether the number of speakers might as well have been another one."""

from typing import Any

import numpy as np

from processor.engines.diarize.speakers import Clusters
from processor.engines.diarize.vbx import KEPT_PRIOR

HEIGHT_MARGIN = 0.05
"""A merge of the dendrogram so near to the threshold, relative to it, may come out the other way."""
PRIOR_MARGIN = 100.0
"""VBx's speakers whose prior is within this factor of the cut may come out the other way."""

FEWEST_PRINTS = 10
"""A speaker of VBx's with fewer voice prints, one a second or so, is as likely to be a splinter of somebody else."""
NO_MATTER = 0.01
"""The share of all voice prints below which a splinter changes little."""


def risky(clusters: Clusters, clusterer: Any) -> bool:
    """Of a clustering that starts from a dendrogram alone, its cut decides; of VBx, what becomes of the priors."""
    if clusters.priors is not None:
        nearness = np.abs(np.log(np.maximum(clusters.priors, 1e-300) / KEPT_PRIOR))
        return bool((nearness < np.log(PRIOR_MARGIN)).any()) or _splintered(clusters)
    if clusters.heights is not None:
        return bool((np.abs(clusters.heights - clusterer.threshold) < HEIGHT_MARGIN * clusterer.threshold).any())
    return False


def _splintered(clusters: Clusters) -> bool:
    if clusters.priors is None or clusters.heights is None:
        return False
    prints = len(clusters.heights) + 1
    few = (clusters.priors > NO_MATTER) & (clusters.priors * prints < FEWEST_PRINTS)
    return bool(few.any()) and len(clusters.priors) > 1

"""Whether the number of speakers might as well have been another one."""

from typing import Any

import numpy as np

from processor.engines.diarize.speakers import Clusters
from processor.engines.diarize.vbx import KEPT_PRIOR

HEIGHT_MARGIN = 0.05
"""A merge of the dendrogram so near to the threshold, relative to it, may come out the other way."""
PRIOR_MARGIN = 100.0
"""VBx's speakers whose prior is within this factor of the cut may come out the other way."""


def risky(clusters: Clusters, clusterer: Any) -> bool:
    """Of a clustering that starts from a dendrogram alone, its cut decides; of VBx, what becomes of the priors."""
    if clusters.priors is not None:
        nearness = np.abs(np.log(np.maximum(clusters.priors, 1e-300) / KEPT_PRIOR))
        return bool((nearness < np.log(PRIOR_MARGIN)).any())
    if clusters.heights is not None:
        return bool((np.abs(clusters.heights - clusterer.threshold) < HEIGHT_MARGIN * clusterer.threshold).any())
    return False

"""What upstream's pipeline does after its networks, step by step, on arrays that are linear in the recording."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pyannote.audio.pipelines import SpeakerDiarization
from pyannote.audio.pipelines.utils.diarization import set_num_speakers
from pyannote.core import Annotation, SlidingWindow, SlidingWindowFeature

from processor.engines.diarize.analysis import Analysis
from processor.engines.diarize.annotation import annotation, turns
from processor.engines.diarize.clustering import Survey, Turns
from processor.engines.diarize.reconstruction import reconstruct
from processor.engines.diarize.risk import risky, unsteady
from processor.engines.diarize.speakers import UNBOUNDED, Clusters, clustered
from schemas.errors import InvalidRequest
from schemas.jobs import DiarizeParams

DOUBTFUL = 0.05
"""Of the windows of a recording that was embedded fast: so many are then embedded exactly."""
_SLOPE, _EVEN = 20.0, 0.1
"""Of the logistic that says how sure a voice print is of its speaker: it is even where the next one is so much farther."""


@dataclass(frozen=True, slots=True)
class Steps:
    """Counting, clustering, reconstruction and labels of `pyannote.audio.pipelines.SpeakerDiarization`, without networks.

    Where upstream's own function is linear in memory it is the one that is called.
    """

    clusterer: Any
    windows: SlidingWindow
    frames: SlidingWindow
    min_duration_off: float

    def turns(self, analysis: Analysis, params: DiarizeParams, cancelled: Callable[[], None]) -> Turns:
        """Upstream's `apply` from where it has the segmentation."""
        activity = SlidingWindowFeature(analysis.activity, self.windows)
        count = SpeakerDiarization.speaker_count(activity, self.frames, warm_up=(0.0, 0.0))
        if not count.data.any():
            return Turns([], [], [], np.zeros((0, analysis.vectors.shape[2]), dtype=np.float32))
        vectors = _usable(analysis.vectors)
        limits: Any = set_num_speakers(params.num_speakers, params.min_speakers, params.max_speakers)
        number, low, high = limits
        if number is None and self.clusterer.expects_num_clusters:
            raise InvalidRequest("the model's way of clustering wants num_speakers")
        voices = len(self.clusterer.filter_embeddings(vectors, activity)[0])
        # Stock raises where it clusters and is asked for more speakers than there are voices.
        most = max(2, voices)
        bounds = {"num_clusters": number and min(number, most), "min_clusters": min(low, most), "max_clusters": high}
        clusters = clustered(self.clusterer, vectors, activity, bounds, cancelled)
        count.data = np.minimum(count.data, high).astype(np.int8)
        silent = ~analysis.activity.any(axis=1)
        clusters.assigned[silent] = -2
        timeline = reconstruct(activity, clusters.assigned, clarity(clusters), count)
        cancelled()

        def found(active: npt.NDArray[np.bool_], min_duration_off: float | None) -> Annotation:
            off = self.min_duration_off if min_duration_off is None else min_duration_off
            return annotation(active, timeline.frames, params.min_duration_on, off)

        everybody = found(timeline.active, params.min_duration_off)
        one = found(timeline.exclusive, None)  # in a gap that is asked to be filled, somebody else may be speaking
        names = {label: f"SPEAKER_{index:02d}" for index, label in enumerate(everybody.labels())}
        return Turns(
            turns=turns(everybody, names, timeline),
            exclusive=turns(one, names, timeline),
            speakers=list(names.values()),
            embeddings=_embeddings(clusters, list(names), analysis.vectors.shape[2]),
        )

    def survey(self, analysis: Analysis, cancelled: Callable[[], None]) -> Survey:
        """Risky as well: a clustering that cannot say by itself how many speakers there are."""
        none = np.zeros(0, dtype=np.int64)
        if self.clusterer.expects_num_clusters:
            return Survey(True, none)
        if not analysis.activity.any():
            return Survey(False, none)
        activity, vectors = SlidingWindowFeature(analysis.activity, self.windows), _usable(analysis.vectors)
        clusters = clustered(self.clusterer, vectors, activity, UNBOUNDED, cancelled)
        clusters.assigned[~analysis.activity.any(axis=1)] = -2
        found = risky(clusters, self.clusterer) or unsteady(clusters, self.clusterer, vectors, activity, cancelled)
        return Survey(found, none if found else doubtful(clusters))


def clarity(clusters: Clusters) -> npt.NDArray[np.float64]:
    """How clearly each speaker of a window is of its cluster and not of the next, 0 to 1: (windows, speakers)."""
    return 1 / (1 + np.exp(-_SLOPE * (margin(clusters) - _EVEN)))


def doubtful(clusters: Clusters) -> npt.NDArray[np.int64]:
    """A share of DOUBTFUL of all windows: those in which a speaker is most nearly between two clusters, the worst first."""
    smallest = np.where(clusters.assigned >= 0, np.abs(margin(clusters)), np.inf).min(axis=1, initial=np.inf)
    worst = np.argsort(smallest, kind="stable")[: math.ceil(DOUBTFUL * len(smallest))]
    return worst[np.isfinite(smallest[worst])]


def margin(clusters: Clusters) -> npt.NDArray[np.float64]:
    """By how much each speaker of a window is nearer to its cluster than to the next one: (windows, speakers). Infinite where
    there is no other."""
    similarity, assigned = np.nan_to_num(clusters.similarity, nan=-1.0), clusters.assigned
    if similarity.shape[2] < 2:
        return np.full(assigned.shape, np.inf)
    chosen = np.maximum(assigned, 0)[..., None]
    own = np.take_along_axis(similarity, chosen, axis=2)[..., 0]
    np.put_along_axis(similarity, chosen, -np.inf, axis=2)
    return own - similarity.max(axis=2)


def _usable(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Vectors without a direction become NaN, which upstream leaves out of the clustering; others would make it fail."""
    lost = np.logical_not(np.isfinite(vectors).all(axis=2) & vectors.any(axis=2))
    return np.where(lost[..., None], np.float32(np.nan), vectors) if lost.any() else vectors


def _embeddings(clusters: Clusters, labels: list[Any], dimension: int) -> npt.NDArray[np.float32]:
    """The centroid of each label; none of those whom upstream invented, where more spoke at once than there are clusters."""
    found = np.full((len(labels), dimension), np.nan, dtype=np.float32)
    for row, label in zip(found, labels, strict=True):
        if clusters.centroids is not None and label < len(clusters.centroids):
            row[:] = clusters.centroids[label]
    return found

"""A diarization model in memory: two networks, and the clustering that follows them."""

import logging
from typing import Any

import numpy as np
import torch

from processor.engines.diarize import device, embedding, segmentation
from processor.engines.diarize.clustering import Turns, cluster
from processor.engines.diarize.embedding import Embedder
from processor.engines.diarize.segmentation import Segmenter
from processor.engines.diarize.windows import Samples, Windows
from schemas.jobs import DiarizeParams
from turnstream import weights
from turnstream.settings import Settings
from turnstream.weights import Weights

log = logging.getLogger(__name__)


class DiarizationModel:
    """What the engine computes with. `segmenter` and `embedder` are used from one thread, `clustering` from others."""

    def __init__(self, pipeline: Any, weights: Weights) -> None:
        """`pipeline` comes from `pipeline.build`, with its networks on the CPU."""
        self._pipeline = pipeline
        self.clustering = pipeline.without_networks()
        """All that follows the networks; outlives them."""
        self.weights = weights
        self.device = "cpu"
        # The layout in which convolutions are fastest; the values are the same.
        pipeline.speaker_embedding.model_.to(memory_format=torch.channels_last)
        self.segmenter = Segmenter(pipeline.segmentation_inference)
        self.embedder = Embedder(
            pipeline.speaker_embedding,
            size=self.segmenter.size,
            frames=self.segmenter.frames,
            speakers=self.segmenter.speakers,
            exclude_overlap=pipeline.embedding_exclude_overlap,
        )
        pipeline.forget_networks()

    def to(self, device: str) -> None:
        self._pipeline.to(torch.device(device))
        self.device = device

    def windows(self, samples: Samples) -> Windows:
        return Windows(samples, self.segmenter.size, self.segmenter.step)

    def diarize(self, samples: Samples, params: DiarizeParams | None = None) -> Turns:
        """One recording from its start to its end, in the very passes that the engine makes of it."""
        windows = self.windows(samples)
        activity = np.concatenate(
            [self.segmenter([windows[i] for i in some]) for some in passes(len(windows), segmentation.WINDOWS_A_PASS)]
        )
        vectors = self.embedder.blank(len(windows))
        spoken = np.flatnonzero(activity.any(axis=(1, 2)))
        for some in passes(len(spoken), embedding.WINDOWS_A_PASS):
            chosen = spoken[some]
            masks = [self.embedder.masks(activity[i]) for i in chosen]
            vectors[chosen] = self.embedder([windows[i] for i in chosen], masks)
        return cluster(self.clustering, activity, vectors, params or DiarizeParams())


def passes(count: int, size: int) -> list[range]:
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def load(settings: Settings) -> DiarizationModel:
    """From settings to a model on its device. Takes seconds, and minutes where weights must be fetched first.

    Raises a ModelError.
    """
    found = weights.resolve(settings)  # which tells pyannote to keep `quiet`, before it is imported
    from processor.engines.diarize import pipeline

    model = DiarizationModel(pipeline.build(found.path), found)
    device.settle(model, device.wanted(settings.device), device.sample_recording())
    log.info("%s (%s, %s) runs on %s", found.name, found.source, found.revision, model.device)
    return model

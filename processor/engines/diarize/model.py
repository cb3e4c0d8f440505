"""A diarization model in memory: two networks, and the clustering that follows them."""

import logging
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from processor.engines.diarize import device
from processor.engines.diarize.analysis import Analysis
from processor.engines.diarize.clustering import Turns, cluster
from processor.engines.diarize.embedding import Embedder, Masks, WindowEmbedding
from processor.engines.diarize.pieces import Embedding
from processor.engines.diarize.quiet import quiet
from processor.engines.diarize.segmentation import Segmenter
from processor.engines.diarize.shared import SharedEmbedder, SharedEmbedding
from processor.engines.diarize.tuning import tuning
from processor.engines.diarize.voice import VoiceNetwork
from processor.engines.diarize.windows import Samples, Windows
from processor.model_manager import out_of_memory
from processor.spool import Sound
from schemas.jobs import DiarizeParams, Mode
from turnstream import weights
from turnstream.settings import Settings
from turnstream.weights import Weights

log = logging.getLogger(__name__)


class DiarizationModel:
    """What the engine computes with. `segmenter` and `embedders` are used from one thread, `clustering` from others."""

    def __init__(self, pipeline: Any, weights: Weights, *, tf32: bool = False) -> None:
        """`pipeline` comes from `pipeline.build`, with its networks on the CPU; it is of no use of its own any more."""
        self._pipeline = pipeline
        self.clustering = pipeline.without_networks()
        """All that follows the networks; outlives them."""
        self.weights = weights
        self._masks = _masks(pipeline)
        self._network = VoiceNetwork(pipeline.speaker_embedding, tf32=tf32)
        self.to("cpu")

    def to(self, device: str) -> None:
        chosen = tuning(device)
        self.device = device
        self._pipeline.to(torch.device(device))
        self._network.to(device, chosen.layout)
        self.segmenter = Segmenter(self._pipeline.segmentation_inference, chosen)
        self.embedders: dict[Mode, Embedder | SharedEmbedder] = {
            Mode.EXACT: Embedder(
                self._network,
                chosen,
                size=self.segmenter.size,
                frames=self.segmenter.frames,
                speakers=self.segmenter.speakers,
            )
        }
        if self._network.in_parts:
            self.embedders[Mode.FAST] = SharedEmbedder(self._network, chosen, size=self.segmenter.size)
        self._pipeline.forget_networks()

    def windows(self, samples: Sound) -> Windows:
        return Windows(samples, self.segmenter.size, self.segmenter.step)

    def blank(self, windows: int) -> Analysis:
        """Of so many windows, before any pass."""
        return Analysis.blank(windows, self.segmenter.frames, self.segmenter.speakers, self._network.dimension)

    def embedding(
        self, mode: Mode, windows: Windows, analysis: Analysis, only: npt.NDArray[np.int64] | None = None
    ) -> Embedding:
        """The embedding stage of a waveform whose activity is known; it fills in the vectors, and holds no networks.

        Its mode is exact also where fast was asked for, but is none here or gains nothing. `only`: exact, of these windows.
        """
        if only is not None:
            return WindowEmbedding(windows, analysis, self._masks, only)
        if mode is Mode.FAST and mode in self.embedders:
            shared = SharedEmbedding(windows, analysis, self._masks)
            if shared.pays:
                return shared
        return WindowEmbedding(windows, analysis, self._masks)

    def diarize(self, samples: Samples, params: DiarizeParams | None = None) -> Turns:
        """One recording from its start to its end, in the very passes that the engine makes of it."""
        while True:
            try:
                return self._diarize(samples, params or DiarizeParams())
            except RuntimeError as error:
                if not (out_of_memory(error) and self._halve()):
                    raise
            log.warning("the memory of %s does not suffice: all passes are half as large", self.device)

    def _halve(self) -> bool:
        return any([passes.halve() for passes in (self.segmenter, *self.embedders.values())])

    def _diarize(self, samples: Samples, params: DiarizeParams) -> Turns:
        windows = self.windows(samples)
        analysis = self.blank(len(windows))
        for start in range(0, len(windows), self.segmenter.room):
            some = range(start, min(start + self.segmenter.room, len(windows)))
            analysis.activity[start : some.stop], _ = self.segmenter([windows[i] for i in some])
        embedding = self.embedding(Mode.EXACT, windows, analysis)
        embedder = self.embedders[embedding.mode]
        while not embedding.done:
            pieces = embedding.pieces(embedder.room)
            for piece, value in zip(pieces, embedder(pieces), strict=True):
                embedding.take(piece.index, value)
        return cluster(self.clustering, analysis, params)


def _masks(pipeline: Any) -> Masks:
    inference, embedding = pipeline.segmentation_inference, pipeline.speaker_embedding
    size = inference.model.audio.get_num_samples(inference.duration)
    with quiet:  # upstream finds what the network needs by trying ever shorter noise, and torch complains
        needed = embedding.min_num_samples
    min_frames = math.ceil(inference.model.num_frames(size) * needed / size)
    return Masks(min_frames, exclude_overlap=pipeline.embedding_exclude_overlap)


def load(settings: Settings) -> DiarizationModel:
    """From settings to a model on its device. Takes seconds, and minutes where weights must be fetched first.

    Raises a ModelError.
    """
    found = weights.resolve(settings)  # which tells pyannote to keep `quiet`, before it is imported
    from processor.engines.diarize import pipeline

    torch.backends.cudnn.allow_tf32 = False  # as stock does; `tf32` allows it where it does no harm
    model = DiarizationModel(pipeline.build(found.path), found, tf32=settings.tf32)
    device.settle(model, device.wanted(settings.device), device.sample_recording())
    log.info("%s (%s, %s) runs on %s", found.name, found.source, found.revision, model.device)
    return model

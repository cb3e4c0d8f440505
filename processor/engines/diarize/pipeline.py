"""A diarization pipeline from a directory of weights, its networks and its clustering apart.

To be imported after `turnstream.weights.telemetry.quiet`: pyannote reads the environment as it is imported.
"""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import yaml
from pyannote.audio.core.pipeline import expand_subfolders
from pyannote.audio.core.plda import PLDA
from pyannote.audio.pipelines import SpeakerDiarization
from pyannote.audio.pipelines.speaker_verification import PyannoteAudioPretrainedSpeakerEmbedding
from pyannote.core import SlidingWindow, SlidingWindowFeature

from schemas.errors import ModelLoadFailed


class ReplayedDiarization(SpeakerDiarization):
    """Upstream's pipeline, whose networks have run already: their output is in the `file` it is applied to.

    Nothing is kept between calls, so several threads may use `apply`.
    """

    @property
    def segmentation_inference(self) -> Any:
        return self._segmentation

    @property
    def speaker_embedding(self) -> Any:
        return self._embedding

    def without_networks(self) -> "ReplayedDiarization":
        """What `apply` wants of this pipeline, and nothing that takes memory."""
        twin, inference = copy.copy(self), self.segmentation_inference
        vars(twin).update(_models={}, _inferences={})
        network = SimpleNamespace(
            specifications=inference.model.specifications, receptive_field=inference.model.receptive_field
        )
        twin._segmentation = SimpleNamespace(duration=inference.duration, step=inference.step, model=network)
        twin._embedding = SimpleNamespace(dimension=self._embedding.dimension)
        return twin

    def forget_networks(self) -> None:
        """Empty upstream's caches, which keep every network they were ever asked about: `functools.cache` on methods."""
        networks = (self.segmentation_inference.model, self.speaker_embedding.model_)
        for module in (module for network in networks for module in network.modules()):
            for member in (member for cls in type(module).__mro__ for member in vars(cls).values()):
                if callable(clear := getattr(member, "cache_clear", None)):
                    clear()

    def check(self) -> None:
        """Raises ModelLoadFailed where its networks are none that can be taken in steps."""
        if not self.segmentation_inference.model.specifications.powerset:
            raise ModelLoadFailed("the segmentation network is not a powerset one, such as pyannote/segmentation-3.0")
        if not isinstance(self._embedding, PyannoteAudioPretrainedSpeakerEmbedding):
            raise ModelLoadFailed("the embedding network is not one of pyannote.audio")

    def voices(self, file: Any) -> int:
        """How many vectors the clustering starts from: those of speakers who are heard alone for long enough."""
        vectors, _, _ = self.clustering.filter_embeddings(file["vectors"], self.get_segmentations(file))
        return len(vectors)

    def get_segmentations(self, file: Any, hook: Any = None) -> SlidingWindowFeature:
        inference = self.segmentation_inference
        return SlidingWindowFeature(
            file["activity"], SlidingWindow(start=0.0, duration=inference.duration, step=inference.step)
        )

    def get_embeddings(
        self, file: Any, binary_segmentations: Any, exclude_overlap: bool = False, hook: Any = None
    ) -> np.ndarray[Any, Any]:
        return file["vectors"]


class NoPLDA(PLDA):
    """Stands in where the clustering wants none: upstream would fetch one from the hub all the same."""

    def __init__(self) -> None:
        pass


def build(directory: Path) -> ReplayedDiarization:
    """The pipeline that `config.yaml` in `directory` describes: community-1's shape, or that of 3.1. On the CPU.

    Raises ModelLoadFailed where it is none that Turnstream can run.
    """
    config = yaml.safe_load((directory / "config.yaml").read_text())
    name = str(config["pipeline"]["name"])
    if name.rpartition(".")[2] != "SpeakerDiarization":
        raise ModelLoadFailed(f"{directory} holds a {name}, not a speaker diarization pipeline")
    expand_subfolders(config, str(directory))
    params = dict(config["pipeline"]["params"])
    if params.get("clustering") != "VBxClustering":
        params["plda"] = NoPLDA()
    pipeline = ReplayedDiarization(**params)
    pipeline.instantiate(config["params"])
    pipeline.check()
    return pipeline

"""A diarization pipeline from a directory of weights, its networks and its clustering apart.

To be imported after `turnstream.weights.telemetry.quiet`: pyannote reads the environment as it is imported.
"""

from pathlib import Path
from typing import Any

import yaml
from pyannote.audio.core.pipeline import expand_subfolders
from pyannote.audio.core.plda import PLDA
from pyannote.audio.pipelines import SpeakerDiarization
from pyannote.audio.pipelines.speaker_verification import PyannoteAudioPretrainedSpeakerEmbedding
from pyannote.core import SlidingWindow

from processor.engines.diarize.steps import Steps
from schemas.errors import ModelLoadFailed


class TakenApart(SpeakerDiarization):
    """Upstream's pipeline as a source of parts: its networks, and what follows them."""

    @property
    def segmentation_inference(self) -> Any:
        return self._segmentation

    @property
    def speaker_embedding(self) -> Any:
        return self._embedding

    def without_networks(self) -> Steps:
        """What follows the networks, and nothing that takes memory."""
        inference = self.segmentation_inference
        return Steps(
            clusterer=self.clustering,
            windows=SlidingWindow(start=0.0, duration=inference.duration, step=inference.step),
            frames=inference.model.receptive_field,
            min_duration_off=self.segmentation.min_duration_off,
        )

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


class NoPLDA(PLDA):
    """Stands in where the clustering wants none: upstream would fetch one from the hub all the same."""

    def __init__(self) -> None:
        pass


def build(directory: Path) -> TakenApart:
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
    pipeline = TakenApart(**params)
    pipeline.instantiate(config["params"])
    pipeline.check()
    return pipeline

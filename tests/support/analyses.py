"""What networks might have said of a recording, made up, and upstream's pipeline after its networks."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from pyannote.audio.core.plda import PLDA
from pyannote.audio.pipelines import SpeakerDiarization
from pyannote.audio.pipelines.clustering import Clustering
from pyannote.core import SlidingWindow, SlidingWindowFeature
from pyannote.pipeline.parameter import ParamDict, Uniform

from processor.engines.diarize.analysis import Analysis
from processor.engines.diarize.clustering import Turn
from processor.engines.diarize.steps import Steps

FRAMES, SPEAKERS = 589, 3
WINDOWS = SlidingWindow(start=0.0, duration=10.0, step=1.0)
FRAME = SlidingWindow(start=0.0, duration=0.0619375, step=0.016875)
VBX = {"threshold": 0.6, "Fa": 0.07, "Fb": 0.8}
AGGLOMERATIVE = {"method": "centroid", "min_cluster_size": 12, "threshold": 0.7045654963945799}


@dataclass(frozen=True)
class Conversation:
    """A recording of `windows` seconds in which `speakers` take turns, sometimes two at once."""

    windows: int
    speakers: int
    seed: int
    dimension: int = 256
    spread: float = 0.6
    """How far the voice prints of one speaker are apart; speakers are one apart."""
    strangers: float = 0.0
    """The share of voice prints that are nobody's."""

    def analysis(self) -> Analysis:
        rng = np.random.default_rng(self.seed)
        spoken = self._spoken(rng)
        voices = rng.normal(size=(self.speakers, self.dimension)) / np.sqrt(self.dimension)
        drift = np.zeros_like(voices)
        analysis = Analysis.blank(self.windows, FRAMES, SPEAKERS, self.dimension)
        for index in range(self.windows):
            start = round(index * WINDOWS.step / FRAME.step)
            seen = spoken[start : start + FRAMES]
            # Nine tenths of what a window hears were heard in the one before, so its print is much the same.
            drift = 0.9 * drift + np.sqrt(0.19 / self.dimension) * self.spread * rng.normal(size=drift.shape)
            for place, who in enumerate(rng.permutation(np.flatnonzero(seen.any(axis=0)))[:SPEAKERS]):
                analysis.activity[index, : len(seen), place] = seen[:, who]
                analysis.vectors[index, place] = voices[who] + drift[who]
        nobodys = rng.random(analysis.vectors.shape[:2]) < self.strangers
        analysis.vectors[nobodys] = rng.normal(size=(nobodys.sum(), self.dimension)) / np.sqrt(self.dimension)
        return analysis

    def _spoken(self, rng: np.random.Generator) -> np.ndarray:
        """(frames, speakers)"""
        spoken = np.zeros((round((self.windows + 10) * WINDOWS.step / FRAME.step) + FRAMES, self.speakers), np.uint8)
        position = 0
        while position < len(spoken):
            length = int(rng.exponential(300)) + 5
            spoken[position : position + length, rng.integers(self.speakers)] = 1
            position += max(1, length + round(rng.normal(10, 40)))
        return spoken


def noise(windows: int, seed: int, dimension: int = 8) -> Analysis:
    """Activity and voice prints without any sense, and with many ties."""
    rng = np.random.default_rng(seed)
    activity = rng.random((windows, FRAMES, SPEAKERS)) < rng.random((windows, 1, SPEAKERS)) ** 2
    vectors = rng.integers(-1, 2, (windows, SPEAKERS, dimension)) + 0.01
    return Analysis(activity.astype(np.uint8), vectors.astype(np.float32))


def plda(directory: Path, dimension: int) -> PLDA:
    """One that leaves vectors nearly as they are."""
    rng = np.random.default_rng(dimension)
    small = min(dimension, 128)
    lda = np.eye(dimension)[:, :small] + 0.01 * rng.normal(size=(dimension, small))
    np.savez(directory / "xvec_transform.npz", mean1=np.zeros(dimension), mean2=np.zeros(small), lda=lda)
    np.savez(directory / "plda.npz", mu=np.zeros(small), tr=np.eye(small), psi=np.linspace(8, 0.5, small))
    return PLDA(directory / "xvec_transform.npz", directory / "plda.npz")


class Stock(SpeakerDiarization):
    """Upstream's `apply` on an Analysis: its networks alone are replaced by what is known."""

    def __init__(self, clustering: str, parameters: dict[str, Any], *args: Any, min_duration_off: float = 0.0) -> None:
        super(SpeakerDiarization, self).__init__()
        self.legacy, self.klustering, self.embedding_exclude_overlap = False, clustering, True
        self.segmentation = ParamDict(min_duration_off=Uniform(0.0, 1.0))
        self.clustering = Clustering[clustering].value(*args, metric="cosine")
        self._expects_num_speakers = self.clustering.expects_num_clusters
        network = SimpleNamespace(specifications=SimpleNamespace(powerset=True), receptive_field=FRAME)
        self._segmentation = SimpleNamespace(model=network)
        self._embedding = SimpleNamespace(dimension=256)
        self.instantiate({"segmentation": {"min_duration_off": min_duration_off}, "clustering": parameters})

    def get_segmentations(self, file: Any, hook: Any = None) -> SlidingWindowFeature:
        return SlidingWindowFeature(file["analysis"].activity.astype(np.float32), WINDOWS)

    def get_embeddings(self, file: Any, *args: Any, **kwargs: Any) -> np.ndarray:
        return file["analysis"].vectors.copy()

    def steps(self) -> Steps:
        """Ours."""
        return Steps(self.clustering, WINDOWS, FRAME, self.segmentation.min_duration_off)

    def output(self, analysis: Analysis, **bounds: int) -> Any:
        return self.apply({"uri": "recording", "analysis": analysis}, **bounds)


def turns(annotation: Any) -> list[Turn]:
    return [
        Turn(label, round(turn.start, 6), round(turn.end, 6))
        for turn, _, label in annotation.itertracks(yield_label=True)
    ]

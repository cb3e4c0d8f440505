"""Recordings in which there is little to find: a result without holes, with the real networks, in either mode."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import torch

from processor.engines.diarize.device import agree
from processor.engines.diarize.engine import MODEL, DiarizeEngine
from processor.engines.diarize.kept import Kept
from processor.engines.diarize.model import DiarizationModel
from processor.engines.diarize.passes import Passes
from processor.engines.diarize.windows import Samples
from schemas.jobs import Mode
from tests.support.engine import Shelf, all_ended, context_of, ends, result_of, run, task
from tests.support.recordings import SAMPLE_RATE, sample_waveform
from turnstream import weights
from turnstream.settings import Settings

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def model() -> Iterator[DiarizationModel]:
    settings = Settings()
    weights.quiet(settings)
    found = weights.resolve(settings)
    from processor.engines.diarize import pipeline

    before = torch.get_num_threads()
    torch.set_num_threads(min(before, 2))
    yield DiarizationModel(pipeline.build(found.path), found)
    torch.set_num_threads(before)


def cut(start: float, seconds: float) -> Samples:
    return sample_waveform()[round(start * SAMPLE_RATE) : round((start + seconds) * SAMPLE_RATE)].copy()


def noise(level: float, seconds: float) -> Samples:
    return np.random.default_rng(3).normal(0, level, round(seconds * SAMPLE_RATE)).astype(np.float32)


def chord(seconds: float) -> Samples:
    """Music, as far as the networks are concerned."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tones = sum(np.sin(2 * np.pi * pitch * time) for pitch in (220, 277.2, 329.6))
    return (tones / 6 * (1 + np.sin(4 * np.pi * time))).astype(np.float32)


RECORDINGS: dict[str, Callable[[], Samples]] = {
    "a tenth of a second": lambda: cut(12, 0.1),
    "half a second": lambda: cut(12, 0.5),
    "a second and a half": lambda: cut(12, 1.5),
    "two seconds": lambda: cut(12, 2),
    "silence": lambda: np.zeros(2 * SAMPLE_RATE, np.float32),
    "noise": lambda: noise(0.1, 3),
    "music": lambda: chord(3),
    "a constant": lambda: np.full(3 * SAMPLE_RATE, 0.9, np.float32),
    "clipped speech": lambda: np.clip(50 * cut(12, 3), -1, 1),
    "one speaker": lambda: cut(16, 4),
    "speech too faint to hear": lambda: cut(12, 3) * np.float32(1e-20),
}


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("name", RECORDINGS)
def test_there_is_a_result_without_holes(model: DiarizationModel, name: str, mode: Mode):
    shelf, samples = Shelf(), RECORDINGS[name]()
    engine = DiarizeEngine(context_of(shelf, {MODEL: lambda: model}))
    engine.open(shelf.put(task(mode=mode, embeddings=True), samples))
    [end] = ends(run(engine, all_ended(engine)))
    engine.close()
    result = result_of(end)

    assert result.num_speakers == len(result.speakers) == len(result.speaker_stats) <= 2
    assert {turn.speaker for turn in result.segments} == set(result.speakers)
    assert all(0 <= turn.start < turn.end <= len(samples) / SAMPLE_RATE + 10 for turn in result.segments)
    assert all(turn.confidence is None or math.isfinite(turn.confidence) for turn in result.segments)
    assert all(np.isfinite(stats.embedding or [0.0]).all() for stats in result.speaker_stats)
    assert sum(stats.share for stats in result.speaker_stats) == pytest.approx(1 if result.segments else 0, abs=1e-5)
    if name == "silence":
        assert result.segments == []
    if name == "one speaker":
        assert result.num_speakers == 1

    [(key, data)] = shelf.kept.items()
    [analysis] = Kept.unpacked(data, "/".join(key), model.blank(0).shape[1:]).analyses
    assert np.isfinite(analysis.vectors).all()


def test_little_memory_makes_smaller_passes_and_the_same_turns(
    model: DiarizationModel, monkeypatch: pytest.MonkeyPatch
):
    samples = cut(12, 14)
    before = model.diarize(samples)
    for network in (model.segmenter, model.embedders[Mode.EXACT]):
        monkeypatch.setattr(network, "room", network.room)  # as it was, when the test is over
        plain = type(network).__call__

        def cramped(self: Passes, pieces: Sequence[object], plain: Callable[..., object] = plain) -> object:
            if self.room > 1:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return plain(self, pieces)

        monkeypatch.setattr(type(network), "__call__", cramped)
    monkeypatch.setattr(model.segmenter, "_rows", model.segmenter._rows)
    assert agree(before.turns, model.diarize(samples).turns)
    assert (model.segmenter.room, model.embedders[Mode.EXACT].room) == (1, 1)

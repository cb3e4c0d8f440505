"""A run that starts from what was kept finds what a full run finds, with the real networks and the real clustering."""

from dataclasses import replace

import numpy as np
import pytest

from processor.engines.diarize.engine import MODEL, DiarizeEngine
from processor.engines.diarize.model import DiarizationModel
from schemas.results import DiarizationResult
from tests.support.engine import Shelf, all_ended, context_of, ends, result_of, run, task
from tests.support.recordings import SAMPLE_RATE, sample_waveform
from turnstream import weights
from turnstream.settings import Settings

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def model() -> DiarizationModel:
    settings = Settings()
    weights.quiet(settings)
    found = weights.resolve(settings)
    from processor.engines.diarize import pipeline

    return DiarizationModel(pipeline.build(found.path), found)


def said(result: DiarizationResult) -> dict[str, object]:
    return result.model_dump(exclude={"job_id", "run", "performance", "timings"})


@pytest.mark.parametrize("params", [{}, {"mode": "fast"}, {"channels": "split"}], ids=str)
def test_a_further_run_is_a_full_run(model: DiarizationModel, params: dict[str, str]):
    speech = sample_waveform()[7 * SAMPLE_RATE : 21 * SAMPLE_RATE]
    recording = np.stack([speech, np.roll(speech, 3 * SAMPLE_RATE)]) if "channels" in params else speech
    shelf = Shelf()
    engine = DiarizeEngine(context_of(shelf, {MODEL: lambda: model}))

    def computed(job) -> DiarizationResult:
        engine.open(job)
        [end] = ends(run(engine, all_ended(engine)))
        return result_of(end)

    first = shelf.put(task(**params), recording)
    computed(first)
    for changed in ({}, {"num_speakers": 1}, {"min_speakers": 3, "min_duration_off": 0.5, "embeddings": True}):
        full = computed(shelf.put(task(**params, **changed), recording))
        again = computed(replace(first, run="run-2", params={**params, **changed}))
        assert said(again) == said(full)
    assert shelf.asked.count(first.job.id) == 1
    engine.close()

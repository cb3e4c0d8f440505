"""Jobs whose model goes and comes again: nothing is lost, nothing computed twice, nothing of the networks kept."""

import gc
import itertools
import threading
import time
import weakref
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.engines.base import Failed, Finished, Progressed
from processor.engines.diarize.analysis import Analysis
from processor.engines.diarize.engine import DiarizeEngine
from processor.engines.diarize.job import FELL_BACK, Stage
from schemas.jobs import Lane
from tests.support.engine import QuickClustering, QuickModel, Shelf, all_ended, ends, made, result_of, run, spoken, task

LIMIT = 30


@pytest.fixture
def shelf():
    return Shelf()


class Comings:
    """The model, made anew each time it is loaded."""

    def __init__(self) -> None:
        self.last: weakref.ref[QuickModel] | None = None
        self.loads = 0

    def __call__(self) -> QuickModel:
        model = QuickModel()
        self.last, self.loads = weakref.ref(model), self.loads + 1
        return model


def parked(engine: DiarizeEngine) -> None:
    """As the hub does it when the model has to go."""
    engine.park()
    engine._models.close()


def outcome_of(lanes_and_windows: list[tuple[Lane, int]], parks: set[int], **params: str) -> list[dict[str, object]]:
    """What comes out of jobs that are parked after the steps of these numbers."""
    shelf, model = Shelf(), Comings()
    engine = made(shelf, model)
    jobs = [
        shelf.put(task(lane, **params), np.stack([spoken(n, windows), spoken(n + 1, windows)]))
        for n, (lane, windows) in enumerate(lanes_and_windows)
    ]
    for job in jobs:
        engine.open(job)
    seen: list[object] = []
    for step in itertools.count():
        if not engine.open_jobs:
            break
        seen += engine.settle() + engine.step()
        if step in parks:
            parked(engine)
    engine.close()
    found = {end.id: result_of(end) for end in seen if isinstance(end, Finished | Failed)}
    return [found[job.id].model_dump(include={"segments", "speakers", "model", "warnings"}) for job in jobs]


@settings(deadline=None, max_examples=20)
@given(
    jobs=st.lists(st.tuples(st.sampled_from(list(Lane)), st.integers(1, 12)), min_size=1, max_size=4),
    parks=st.sets(st.integers(0, 60), max_size=6),
)
@pytest.mark.parametrize("params", [{}, {"mode": "fast"}, {"mode": "fast", "channels": "split"}], ids=str)
@pytest.mark.parametrize("risky", [False, True])
def test_parking_changes_nothing(jobs: list[tuple[Lane, int]], parks: set[int], params: dict[str, str], risky: bool):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(QuickClustering, "risky", risky)
        patch.setattr(QuickClustering, "doubtful", (0,))
        assert outcome_of(jobs, parks, **params) == outcome_of(jobs, set(), **params)


def test_no_window_is_computed_twice_for_being_parked(shelf: Shelf):
    passes: list[tuple[str, list[float]]] = []

    def load() -> QuickModel:
        model = QuickModel()
        for network in (model.segmenter, *model.embedders.values()):
            network.passes = passes
        return model

    engine = made(shelf, load)
    engine.open(shelf.put(task(), spoken(1, windows=20)))
    for n in range(1, 8):
        run(engine, lambda _, n=n: len(passes) >= n)
        parked(engine)
    run(engine, all_ended(engine))
    counts = Counter()
    for name, windows in passes:
        counts[name] += len(windows)
    assert counts == {"segmentation": 20, "embedding": 20}
    engine.close()


def test_a_parked_engine_holds_nothing_of_the_model_not_even_while_it_clusters(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
):
    model, clustering, go = Comings(), threading.Event(), threading.Event()
    plain = QuickClustering.turns

    def turns(self: QuickClustering, analysis: Analysis, *others: object) -> object:
        clustering.set()
        assert go.wait(LIMIT)
        return plain(self, analysis, *others)

    monkeypatch.setattr(QuickClustering, "turns", turns)
    engine = made(shelf, model)
    first, second = shelf.put(task(), spoken(1, windows=2)), shelf.put(task(), spoken(2, windows=50))
    for job in (first, second):
        engine.open(job)
    run(engine, lambda _: clustering.is_set())
    assert model.last is not None
    parked(engine)
    gc.collect()
    assert model.last() is None
    go.set()
    seen: list[object] = []
    while not ends(seen):  # what was clustered aside is told without the model
        seen += engine.settle()
    assert [end.id for end in ends(seen)] == [first.id]
    assert model.loads == 1
    [finished] = ends(run(engine, all_ended(engine)))
    assert finished.id == second.id
    engine.close()


def test_the_time_a_job_was_parked_is_one_of_waiting_for_the_model(shelf: Shelf):
    engine = made(shelf, Comings())
    job = shelf.put(task(), spoken(1, windows=30))
    engine.open(job)
    run(engine, lambda _: engine._jobs[job.id].stage is Stage.SEGMENTATION)
    parked(engine)
    parked_until = time.monotonic() + 0.05
    while time.monotonic() < parked_until:
        engine.settle()
    [finished] = ends(run(engine, all_ended(engine)))
    timings = result_of(finished).timings
    assert 0.05 <= timings.load <= timings.total
    engine.close()


def test_a_job_that_falls_back_while_it_is_parked_goes_on_with_the_model(shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    go = threading.Event()
    plain = QuickClustering.survey

    def survey(self: QuickClustering, *others: object) -> object:
        assert go.wait(LIMIT)
        return plain(self, *others)

    monkeypatch.setattr("processor.engines.listening.TELL", 0)
    monkeypatch.setattr(QuickClustering, "risky", True)
    monkeypatch.setattr(QuickClustering, "survey", survey)
    engine = made(shelf, Comings())
    job = shelf.put(task(mode="fast"), spoken(3, windows=9))
    engine.open(job)
    run(engine, lambda _: engine._jobs[job.id].stage is Stage.CLUSTERING)
    parked(engine)
    clustered_until = time.monotonic() + 0.05
    while engine._jobs[job.id].stage is Stage.CLUSTERING:
        engine.settle()
        if time.monotonic() > clustered_until:
            go.set()
    assert (engine._jobs[job.id].stage, engine.urgency) == (Stage.EMBEDDING, engine._jobs[job.id].urgency)
    seen = run(engine, all_ended(engine))
    [finished] = ends(seen)
    assert result_of(finished).warnings == [FELL_BACK]
    estimates = [outcome.progress.eta for outcome in seen if isinstance(outcome, Progressed)]
    assert all(eta is None or eta >= 0 for eta in estimates)
    engine.close()

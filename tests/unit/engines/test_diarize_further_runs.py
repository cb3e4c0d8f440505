"""Further runs of a job start from what the networks said of it before, where that is kept and fits."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from schemas.errors import StoreUnavailable, WeightsUnavailable
from schemas.jobs import Job
from tests.support.engine import (
    QuickModel,
    Shelf,
    again,
    computed,
    conversation,
    ends,
    made,
    result_of,
    said,
    task,
)


def test_a_further_run_starts_from_what_was_kept(model: QuickModel, shelf: Shelf):
    engine = made(shelf, lambda: model)
    job = shelf.put(task(), conversation())
    first = computed(engine, job)
    assert (first.num_speakers, len(shelf.kept)) == (2, 1)
    passes = len(model.passes)

    fewer = computed(engine, again(job, num_speakers=1))
    assert fewer.num_speakers == 1
    assert said(computed(engine, again(job))) == said(first)
    assert shelf.asked == [job.job.id]  # the recording, once
    assert len(model.passes) == passes
    engine.close()


def test_a_further_run_does_not_wait_for_a_model_that_was_there_before(model: QuickModel, shelf: Shelf):
    loads = iter([lambda: model, WeightsUnavailable])

    def load() -> QuickModel:
        made_or_error = next(loads)()
        if isinstance(made_or_error, Exception):
            raise made_or_error
        return made_or_error

    engine = made(shelf, load)
    job = shelf.put(task(), conversation())
    first = computed(engine, job)
    engine.park()
    engine._models.close()
    engine.open(again(job))
    seen: list[object] = []
    while not ends(seen):
        seen += engine.settle()
    assert said(result_of(ends(seen)[0])) == said(first)
    engine.close()


def test_a_worker_that_starts_anew_has_the_model_loaded_and_needs_no_recording(model: QuickModel, shelf: Shelf):
    engine = made(shelf, lambda: model)
    job = shelf.put(task(), conversation())
    first = computed(engine, job)
    engine.close()
    passes = len(model.passes)

    engine = made(shelf, lambda: model)
    assert said(computed(engine, again(job))) == said(first)
    assert (shelf.asked, len(model.passes)) == ([job.job.id], passes)
    engine.close()


def test_a_further_run_of_which_nothing_was_kept_is_computed(model: QuickModel, shelf: Shelf):
    engine = made(shelf, lambda: model)
    job = shelf.put(task(), conversation())
    assert computed(engine, again(job)).num_speakers == 2
    assert shelf.asked == [job.job.id]
    engine.close()


@pytest.mark.parametrize("other", [{"mode": "fast"}, {"channels": "split"}], ids=str)
def test_what_was_computed_otherwise_is_not_taken(other: dict[str, str], model: QuickModel, shelf: Shelf):
    engine = made(shelf, lambda: model)
    job = shelf.put(task(), conversation())
    computed(engine, job)
    computed(engine, again(job, **other))
    assert shelf.asked == [job.job.id] * 2
    assert len(shelf.kept) == 2
    engine.close()


def test_another_model_does_not_take_what_was_kept(shelf: Shelf):
    models = [QuickModel(), QuickModel()]
    models[1].weights = replace(QuickModel.weights, revision="other")
    job = shelf.put(task(), conversation())
    for model in models:
        engine = made(shelf, lambda model=model: model)
        computed(engine, again(job))
        assert model.passes
        engine.close()
    assert len(shelf.kept) == 2


def test_what_was_computed_with_tf32_is_not_taken_without_it(shelf: Shelf):
    job = shelf.put(task(), conversation())
    for tf32, passes in ((False, True), (True, True), (True, False)):
        model = QuickModel()
        engine = made(shelf, lambda model=model: model, tf32=tf32)
        computed(engine, again(job))
        assert bool(model.passes) == passes
        engine.close()
    assert len(shelf.kept) == 2


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"something else", lambda data: b""])
def test_what_is_damaged_is_computed_again(damage: Callable[[bytes], bytes], model: QuickModel, shelf: Shelf):
    engine = made(shelf, lambda: model)
    job = shelf.put(task(), conversation())
    first = computed(engine, job)
    [(key, data)] = shelf.kept.items()
    shelf.kept[key] = damage(data)
    assert said(computed(engine, again(job))) == said(first)
    assert shelf.kept[key] == data
    engine.close()


def test_what_another_job_kept_is_not_taken(model: QuickModel, shelf: Shelf):
    engine = made(shelf, lambda: model)
    job, other = shelf.put(task(), conversation()), shelf.put(task(), conversation()[::-1] + 1)
    first = computed(engine, job)
    computed(engine, other)
    _, mark = next(iter(shelf.kept))
    shelf.kept[job.job.id, mark] = shelf.kept[other.job.id, mark]
    assert said(computed(engine, again(job))) == said(first)
    engine.close()


def test_a_store_that_takes_nothing_fails_no_job(model: QuickModel, shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    def keep(job: Job, fingerprint: str, data: bytes) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(shelf, "keep_analysis", keep, raising=False)
    engine = made(shelf, lambda: model)
    assert computed(engine, shelf.put(task(), conversation())).num_speakers == 2
    engine.close()


def test_nothing_is_kept_where_that_is_switched_off(model: QuickModel, shelf: Shelf):
    engine = made(shelf, lambda: model, keep_analysis=False)
    job = shelf.put(task(), conversation())
    computed(engine, job)
    computed(engine, again(job))
    assert (shelf.kept, shelf.asked) == ({}, [job.job.id] * 2)
    engine.close()

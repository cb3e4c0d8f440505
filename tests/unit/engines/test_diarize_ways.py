"""Ways through the engine other than from a recording through both networks: kept analyses, fast mode, channels apart."""

import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from processor.engines.base import Finished, JobTask, Progressed
from processor.engines.diarize.analysis import Analysis
from processor.engines.diarize.engine import DiarizeEngine
from processor.engines.diarize.job import FELL_BACK, NEAR_TIE, Stage
from processor.engines.diarize.kept import Kept
from schemas.errors import InvalidRequest, JobCancelled, StoreUnavailable, WeightsUnavailable
from schemas.jobs import Job, Mode
from schemas.results import DiarizationResult
from tests.support.engine import (
    QuickClustering,
    QuickModel,
    Shelf,
    all_ended,
    ends,
    made,
    result_of,
    run,
    spoken,
    task,
)

LIMIT = 30


@pytest.fixture
def model():
    return QuickModel()


@pytest.fixture
def shelf():
    return Shelf()


def computed(engine: DiarizeEngine, job: JobTask) -> DiarizationResult:
    engine.open(job)
    [end] = ends(run(engine, all_ended(engine)))
    return result_of(end)


def again(job: JobTask, **params: object) -> JobTask:
    return replace(job, run="run-2", params={**job.params, **params})


def said(result: DiarizationResult) -> dict[str, object]:
    return result.model_dump(exclude={"run", "performance", "timings"})


def conversation() -> np.ndarray:
    """Two voices and a pause."""
    return np.concatenate([spoken(3, windows=4), spoken(0, windows=3), spoken(5, windows=4)])


# Kept analyses


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


# Fast mode


def test_the_setting_says_the_mode_of_jobs_that_do_not(model: QuickModel, shelf: Shelf):
    engine = made(shelf, lambda: model, diarization_mode=Mode.FAST)
    fast = computed(engine, shelf.put(task(), conversation()))
    exact = computed(engine, shelf.put(task(mode="exact"), conversation()))
    assert (fast.model.mode, fast.speakers, fast.warnings) == ("fast", ["S30", "S50"], [])
    assert (exact.model.mode, exact.speakers) == ("exact", ["S3", "S5"])
    engine.close()


def test_windows_that_fast_leaves_in_doubt_are_embedded_exactly(
    model: QuickModel, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(QuickClustering, "doubtful", (1,))
    engine = made(shelf, lambda: model)
    job = shelf.put(task(mode="fast", num_speakers=2), conversation())
    result = computed(engine, job)
    assert (result.model.mode, result.warnings) == ("fast", [])
    assert [segment.speaker for segment in result.segments if segment.start in {0, 1, 2}] == ["S30", "S3", "S30"]
    assert [samples for name, samples in model.passes if name == "embedding"] == [[3.0]]
    passes = len(model.passes)

    assert said(computed(engine, again(job))) == said(result)
    assert len(model.passes) == passes  # what is kept is what came of it
    engine.close()


def test_progress_does_not_go_back_while_doubts_are_settled(
    model: QuickModel, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(QuickClustering, "doubtful", (0, 1))
    monkeypatch.setattr("processor.engines.listening.TELL", 0)
    engine = made(shelf, lambda: model)
    engine.open(shelf.put(task(mode="fast"), conversation()))
    told = [outcome.progress.fraction for outcome in run(engine, all_ended(engine)) if isinstance(outcome, Progressed)]
    assert told
    assert told == sorted(told)
    engine.close()


def test_a_risky_recording_falls_back_and_keeps_its_segmentation(
    model: QuickModel, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(QuickClustering, "risky", True)
    engine = made(shelf, lambda: model)
    job = shelf.put(task(mode="fast"), conversation())
    result = computed(engine, job)
    assert (result.model.mode, result.speakers, result.warnings) == ("exact", ["S3", "S5"], [FELL_BACK])
    networks = [name for name, _ in model.passes]
    assert networks == sorted(networks, key=["segmentation", "fast", "embedding"].index)
    assert set(networks) == {"segmentation", "fast", "embedding"}
    passes = len(model.passes)

    further = computed(engine, again(job))
    assert said(further) == said(result)
    assert (shelf.asked, len(model.passes)) == ([job.job.id], passes)
    engine.close()


def test_a_further_run_that_turns_out_risky_listens_again(
    model: QuickModel, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
):
    engine = made(shelf, lambda: model)
    job = shelf.put(task(mode="fast"), conversation())
    assert computed(engine, job).model.mode == "fast"
    monkeypatch.setattr(QuickClustering, "risky", True)
    result = computed(engine, again(job))
    assert (result.model.mode, result.speakers, result.warnings) == ("exact", ["S3", "S5"], [FELL_BACK])
    assert shelf.asked == [job.job.id] * 2
    engine.close()


def test_a_model_that_takes_fast_for_no_gain_is_believed(
    model: QuickModel, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
):
    plain = model.embedding
    monkeypatch.setattr(model, "embedding", lambda mode, *others: plain(Mode.EXACT, *others))
    monkeypatch.setattr(QuickClustering, "risky", True)
    engine = made(shelf, lambda: model)
    result = computed(engine, shelf.put(task(mode="fast"), conversation()))
    assert (result.model.mode, result.speakers, result.warnings) == ("exact", ["S3", "S5"], [])
    assert {name for name, _ in model.passes} == {"segmentation", "embedding"}
    engine.close()


def test_fast_and_exact_jobs_share_no_pass_of_embedding(model: QuickModel, shelf: Shelf):
    engine = made(shelf, lambda: model)
    jobs = [shelf.put(task(mode=mode), spoken(value, windows=3)) for value, mode in ((2, "fast"), (4, "exact"))]
    for job in jobs:
        engine.open(job)
    found = {end.id: result_of(end) for end in ends(run(engine, all_ended(engine)))}
    assert [found[job.id].speakers for job in jobs] == [["S20"], ["S4"]]
    assert all(set(windows) == {2} for name, windows in model.passes if name == "fast")
    assert all(set(windows) == {4} for name, windows in model.passes if name == "embedding")
    engine.close()


# Channels


def test_each_channel_has_speakers_of_its_own(model: QuickModel, shelf: Shelf):
    engine = made(shelf, lambda: model)
    job = shelf.put(task(channels="split"), np.stack([spoken(3, windows=4), spoken(3, windows=4)]))
    result = computed(engine, job)
    assert result.speakers == ["CHANNEL_0_S3", "CHANNEL_1_S3"]
    assert [(turn.speaker, turn.start, turn.channel) for turn in result.segments[:4]] == [
        ("CHANNEL_0_S3", 0, 0),
        ("CHANNEL_1_S3", 0, 1),
        ("CHANNEL_0_S3", 1, 0),
        ("CHANNEL_1_S3", 1, 1),
    ]
    assert (result.audio.channels, result.num_speakers, result.overlap_share) == (2, 2, 1)
    assert said(computed(engine, again(job))) == said(result)
    assert shelf.asked == [job.job.id]
    engine.close()


def test_channels_fall_back_together(model: QuickModel, shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(QuickClustering, "risky", True)
    engine = made(shelf, lambda: model)
    job = shelf.put(task(channels="split", mode="fast"), np.stack([spoken(3, windows=4), spoken(0, windows=4)]))
    result = computed(engine, job)
    assert (result.speakers, result.warnings) == (["CHANNEL_0_S3"], [FELL_BACK])
    engine.close()


def test_a_recording_of_one_channel_is_split_into_its_mix(model: QuickModel, shelf: Shelf):
    engine = made(shelf, lambda: model)
    mix = computed(engine, shelf.put(task(), conversation()))
    split = computed(engine, shelf.put(task(channels="split"), conversation()))
    assert (split.segments, split.speakers) == (mix.segments, mix.speakers)
    engine.close()


def test_too_many_channels_fail_their_job(model: QuickModel, shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    def channels(*_: object) -> None:
        raise InvalidRequest("too many")

    monkeypatch.setattr(shelf, "channels", channels, raising=False)
    engine = made(shelf, lambda: model)
    engine.open(shelf.put(task(channels="split"), conversation()))
    [failed] = ends(run(engine, all_ended(engine)))
    assert failed.error == InvalidRequest("too many").info
    engine.close()


# What is told


def test_near_ties_are_told(model: QuickModel, shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    plain = model.segmenter

    class Undecided:
        room = plain.room

        def __call__(self, windows: list[np.ndarray]) -> tuple[object, object]:
            activity, ties = plain(windows)
            return activity, ties + 1

    monkeypatch.setattr(model, "segmenter", Undecided())
    engine = made(shelf, lambda: model)
    job = shelf.put(task(), conversation())
    assert computed(engine, job).warnings == [NEAR_TIE]
    assert computed(engine, again(job)).warnings == [NEAR_TIE]
    [data] = shelf.kept.values()
    assert Kept.unpacked(data).near_ties == len(model.windows(conversation()))
    engine.close()


def test_voice_prints_are_told_where_they_are_asked_for(model: QuickModel, shelf: Shelf):
    engine = made(shelf, lambda: model)
    without = computed(engine, shelf.put(task(), conversation()))
    assert [stats.embedding for stats in without.speaker_stats] == [None, None]
    with_them = computed(engine, shelf.put(task(embeddings=True), conversation()))
    assert [stats.embedding for stats in with_them.speaker_stats] == [[0.5] * 8] * 2
    assert [(stats.speaking_time, stats.share) for stats in with_them.speaker_stats] == [(5, 0.555556), (4, 0.444444)]
    engine.close()


def test_decoding_tells_how_far_it_is(model: QuickModel, shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("processor.engines.listening.TELL", 0)
    go, half = threading.Event(), threading.Event()
    plain = shelf.waveform

    def slow(job: Job, cancelled: object, tell: Callable[[float], None]) -> object:
        tell(0.5)
        half.set()
        assert go.wait(LIMIT)
        return plain(job, cancelled, tell)

    monkeypatch.setattr(shelf, "waveform", slow, raising=False)
    engine = made(shelf, lambda: model)
    engine.open(shelf.put(task(), conversation()))
    assert half.wait(LIMIT)
    [told] = [outcome for outcome in engine.settle() if isinstance(outcome, Progressed)]
    assert (told.progress.stage, told.progress.fraction) == ("decode", 0.015)
    go.set()
    run(engine, all_ended(engine))
    engine.close()


def test_a_job_cancelled_while_it_is_clustered_stops_that(
    model: QuickModel, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
):
    clustering, stopped = threading.Event(), threading.Event()

    def turns(self: QuickClustering, analysis: Analysis, params: object, cancelled: Callable[[], None]) -> None:
        clustering.set()
        try:
            while True:
                cancelled()
        except JobCancelled:
            stopped.set()
            raise

    monkeypatch.setattr(QuickClustering, "turns", turns)
    engine = made(shelf, lambda: model)
    job = shelf.put(task(), conversation())
    engine.open(job)
    run(engine, lambda _: clustering.is_set())
    assert engine._jobs[job.id].stage is Stage.CLUSTERING
    engine.cancel(job.id)
    assert stopped.wait(LIMIT)
    assert [outcome for outcome in engine.settle() if isinstance(outcome, Finished)] == []
    assert engine.open_jobs == 0
    engine.close()

"""Ways through the engine other than the exact one of a mix: fast mode, channels apart; and what else results tell."""

import threading
from collections.abc import Callable

import numpy as np
import pytest

from processor.engines.base import Finished, Progressed
from processor.engines.diarize.analysis import Analysis
from processor.engines.diarize.job import FELL_BACK, NEAR_TIE, Stage
from processor.engines.diarize.kept import Kept
from schemas.errors import InvalidRequest, JobCancelled
from schemas.jobs import Job, Mode
from tests.support.engine import (
    QuickClustering,
    QuickModel,
    Shelf,
    again,
    all_ended,
    computed,
    conversation,
    ends,
    made,
    result_of,
    run,
    said,
    spoken,
    task,
)

LIMIT = 30


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
    [(key, data)] = shelf.kept.items()
    assert Kept.unpacked(data, "/".join(key), model.blank(0).shape[1:]).near_ties == len(model.windows(conversation()))
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

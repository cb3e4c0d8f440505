"""How jobs share the engine: order, failures, cancels, parking. The model here answers at once; test_transcribe_model.py has
the real one."""

import gc
import threading
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from processor.audio import Waveform
from processor.engines.base import EngineContext, Failed, Finished, JobTask, Outcome, Progressed
from processor.engines.transcribe.engine import TranscribeEngine
from processor.model_manager import ModelManager, ModelSource
from schemas.errors import AudioUnreadable, EngineFailed, EngineOutOfMemory, InvalidRequest, WeightsUnavailable
from schemas.jobs import Job, Lane
from tests.support.engine import RoomyMemory, Shelf, all_ended, context_of, ends, run, shelf_of
from tests.support.whisper import QuickWhisper, speechless, transcribe_task, transcription_of
from turnstream.settings import Settings

LIMIT = 30


@pytest.fixture
def model() -> QuickWhisper:
    return QuickWhisper()


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def engine(model: QuickWhisper, shelf: Shelf) -> Iterator[TranscribeEngine]:
    engine = TranscribeEngine(context_of(shelf, {"transcribe": lambda: model}))
    yield engine
    model.go.set()
    engine.close()


def until_busy(engine: TranscribeEngine, model: QuickWhisper) -> None:
    """Let a pass begin, and hold it there."""
    model.go.clear()
    model.busy.clear()
    run(engine, lambda _: model.busy.is_set())


def until_decoded(engine: TranscribeEngine, *tasks: JobTask) -> None:
    run(engine, lambda _: all(engine._jobs[task.id].waits_for_the_model for task in tasks))


def test_a_job_is_heard_stretch_by_stretch(engine: TranscribeEngine, shelf: Shelf, model: QuickWhisper):
    job = shelf.put(transcribe_task(), speechless(0.001, stretches=2))
    engine.open(job)
    [end] = ends(run(engine, all_ended(engine)))
    result = transcription_of(end)
    assert result.text == "0.001 s. 0.001 s."
    assert [(segment.start, segment.end, segment.text) for segment in result.segments] == [
        (0.5, 2.0, "0.001 s."),
        (30.5, 32.0, "0.001 s."),
    ]
    assert [word.word for word in result.segments[1].words] == [" 0.001", " s."]
    assert result.warnings == ["told_by_the_model"]
    assert (result.model.name, result.model.mode) == ("quick", "float32")
    assert (result.audio.duration, result.audio.sha256) == (60, job.job.audio.sha256)
    assert result.performance == result.timings.total >= result.timings.transcription >= 0


def test_the_first_stretch_tells_the_language_of_all(engine: TranscribeEngine, shelf: Shelf, model: QuickWhisper):
    engine.open(shelf.put(transcribe_task(), speechless(0.001, stretches=3)))
    result = transcription_of(*ends(run(engine, all_ended(engine))))
    assert [language for _, language in model.heard] == [None, "nl", "nl"]
    assert (result.language, result.language_probability) == ("nl", 0.75)


def test_a_language_that_is_told_is_not_detected(engine: TranscribeEngine, shelf: Shelf, model: QuickWhisper):
    engine.open(shelf.put(transcribe_task(language="en"), speechless(0.001, stretches=1)))
    result = transcription_of(*ends(run(engine, all_ended(engine))))
    assert model.heard == [(0.001, "en")]
    assert (result.language, result.language_probability) == ("en", 1)


@pytest.mark.parametrize(("english_only", "language"), [(True, "nl"), (False, "ja")])
def test_a_language_that_the_model_does_not_know(
    engine: TranscribeEngine, shelf: Shelf, model: QuickWhisper, english_only: bool, language: str
):
    model.english_only = english_only
    engine.open(shelf.put(transcribe_task(language=language), speechless(0.001, stretches=1)))
    [failed] = ends(run(engine, all_ended(engine)))
    assert isinstance(failed, Failed)
    assert failed.error.code == InvalidRequest.code
    assert language in failed.error.detail
    assert model.heard == []


@pytest.mark.parametrize(
    ("english_only", "told", "expected"),
    [(True, None, ("en", 1)), (False, "nl", ("nl", 1)), (False, None, ("und", 0))],
)
def test_where_nobody_speaks_there_is_nothing(
    engine: TranscribeEngine,
    shelf: Shelf,
    model: QuickWhisper,
    english_only: bool,
    told: str | None,
    expected: tuple[str, float],
):
    model.english_only = english_only
    engine.open(shelf.put(transcribe_task(vad=True, language=told), speechless(0, stretches=1)))
    result = transcription_of(*ends(run(engine, all_ended(engine))))
    assert (result.text, result.segments, model.heard) == ("", [], [])
    assert (result.language, result.language_probability) == expected


def test_an_interactive_job_overtakes_after_one_stretch(engine: TranscribeEngine, shelf: Shelf, model: QuickWhisper):
    slow = shelf.put(transcribe_task(Lane.BATCH), speechless(0.001, stretches=6))
    urgent = shelf.put(transcribe_task(), speechless(0.002, stretches=2))
    engine.open(slow)
    until_busy(engine, model)
    engine.open(urgent)
    until_decoded(engine, urgent)
    model.go.set()
    order = [end.id for end in ends(run(engine, all_ended(engine)))]
    assert order == [urgent.id, slow.id]
    assert [value for value, _ in model.heard] == [0.001, 0.002, 0.002, *[0.001] * 5]


def test_a_pass_holds_nobody_up(engine: TranscribeEngine, shelf: Shelf, model: QuickWhisper):
    engine.open(shelf.put(transcribe_task(), speechless(0.001, stretches=2)))
    while engine.urgency is None:  # until it is decoded
        engine.settle()
    until_busy(engine, model)
    assert engine.urgency is None  # nothing to do before it is over
    for _ in range(3):
        assert ends([*engine.settle(), *engine.step()]) == []
    assert len(model.heard) == 1


def test_a_failed_pass_fails_its_job_alone(engine: TranscribeEngine, shelf: Shelf, model: QuickWhisper):
    bad = shelf.put(transcribe_task(), speechless(QuickWhisper.BAD, stretches=2))
    good = shelf.put(transcribe_task(), speechless(0.001, stretches=1))
    for job in (bad, good):
        engine.open(job)
    found = {end.id: end for end in ends(run(engine, all_ended(engine)))}
    assert isinstance(failed := found[bad.id], Failed)
    assert failed.error.code == EngineFailed.code
    assert isinstance(found[good.id], Finished)


def test_memory_that_does_not_suffice_has_its_own_error(engine: TranscribeEngine, shelf: Shelf, model: QuickWhisper):
    model.error = RuntimeError("CUDA failed with error out of memory")
    engine.open(shelf.put(transcribe_task(), speechless(QuickWhisper.BAD, stretches=1)))
    [failed] = ends(run(engine, all_ended(engine)))
    assert isinstance(failed, Failed)
    assert failed.error.code == EngineOutOfMemory.code


def test_a_recording_that_cannot_be_had_fails_its_job_alone(model: QuickWhisper, shelf: Shelf):
    bad, good = transcribe_task(), shelf.put(transcribe_task(), speechless(0.001, stretches=1))

    def recording(job: Job, cancelled: Callable[[], bool]) -> Waveform:
        if job.id == bad.job.id:
            raise AudioUnreadable("only noise")
        return shelf.recording(job, cancelled)

    engine = TranscribeEngine(context_of(shelf_of(recording), {"transcribe": lambda: model}))
    for job in (bad, good):
        engine.open(job)
    found = {end.id: end for end in ends(run(engine, all_ended(engine)))}
    assert found[bad.id] == Failed(bad.id, AudioUnreadable("only noise").info)
    assert isinstance(found[good.id], Finished)
    engine.close()


def test_a_load_that_fails_fails_its_jobs_and_is_tried_again(shelf: Shelf, model: QuickWhisper):
    errors = [WeightsUnavailable("no network")]

    def load() -> QuickWhisper:
        if errors:
            raise errors.pop()
        return model

    engine = TranscribeEngine(context_of(shelf, {"transcribe": load}))
    first, second = (shelf.put(transcribe_task(), speechless(0.001, stretches=1)) for _ in range(2))
    engine.open(first)
    assert ends(run(engine, all_ended(engine))) == [Failed(first.id, WeightsUnavailable("no network").info)]
    engine.open(second)
    assert isinstance(ends(run(engine, all_ended(engine)))[0], Finished)
    engine.close()


def test_parameters_of_another_release_fail_their_job(engine: TranscribeEngine):
    engine.open(transcribe_task(accent="southern"))
    [failed] = ends(engine.settle())
    assert isinstance(failed, Failed)
    assert failed.error.code == EngineFailed.code
    assert engine.open_jobs == 0


def test_a_cancelled_job_has_no_end_and_no_further_pass(engine: TranscribeEngine, shelf: Shelf, model: QuickWhisper):
    gone = shelf.put(transcribe_task(), speechless(0.001, stretches=9))
    kept = shelf.put(transcribe_task(), speechless(0.002, stretches=1))
    engine.open(gone)
    until_busy(engine, model)
    engine.open(kept)
    engine.cancel(gone.id)
    engine.cancel(gone.id)
    model.go.set()
    assert [end.id for end in ends(run(engine, all_ended(engine)))] == [kept.id]
    assert [value for value, _ in model.heard] == [0.001, 0.002]


def test_a_job_cancelled_while_it_is_decoded_stops_that(model: QuickWhisper):
    started, stopped = threading.Event(), threading.Event()

    def recording(job: Job, cancelled: Callable[[], bool]) -> Waveform:
        started.set()
        while not cancelled():
            pass
        stopped.set()
        raise AudioUnreadable

    engine = TranscribeEngine(context_of(shelf_of(recording), {"transcribe": lambda: model}))
    job = transcribe_task()
    engine.open(job)
    assert started.wait(LIMIT)
    engine.cancel(job.id)
    assert stopped.wait(LIMIT)
    assert ends(engine.settle()) == []
    engine.close()


def test_a_job_opened_anew_while_it_is_heard_starts_anew(engine: TranscribeEngine, shelf: Shelf, model: QuickWhisper):
    job = shelf.put(transcribe_task(), speechless(0.001, stretches=2))
    engine.open(job)
    until_busy(engine, model)
    engine.open(job)
    model.go.set()
    [end] = ends(run(engine, all_ended(engine)))
    assert transcription_of(end).text == "0.001 s. 0.001 s."
    assert len(model.heard) == 3


def test_progress_grows(engine: TranscribeEngine, shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("processor.engines.listening.TELL", 0)
    engine.open(shelf.put(transcribe_task(), speechless(0.001, stretches=4)))
    told = [outcome.progress for outcome in run(engine, all_ended(engine)) if isinstance(outcome, Progressed)]
    assert {progress.stage for progress in told} >= {"decode", "transcription"}
    fractions = [progress.fraction for progress in told]
    assert fractions == sorted(fractions)
    assert {0.25, 0.5, 0.75} >= set(fractions) - {0}
    assert all(progress.eta is not None for progress in told if progress.fraction)


# Parking


class Swapped:
    """A model manager with room for one model, its engine, and what was loaded so far."""

    def __init__(self, shelf: Shelf) -> None:
        self.models: list[weakref.ref[QuickWhisper]] = []
        changed = threading.Event()
        manager = ModelManager(RoomyMemory(budget=1), on_change=changed.set, on_evict=self._evict)
        manager.register(ModelSource("transcribe", self._load, size=1))
        manager.register(ModelSource("other", object, size=1))
        self.manager = manager
        self.hold = threading.Event()
        self.engine = TranscribeEngine(EngineContext(Settings(), manager, shelf, changed))

    def _load(self) -> QuickWhisper:
        model = QuickWhisper()
        self.models.append(weakref.ref(model))
        return model

    def _evict(self, name: str) -> None:
        if name == "transcribe":
            self.engine.park()

    def swap(self) -> list[Outcome]:
        """The other model comes, and stays until this engine is stepped again. Outcomes that came meanwhile."""
        told: list[Outcome] = []
        while self.manager.get("other") is None:
            told += self.engine.settle()
        return told


def test_a_parked_job_goes_on_where_it_was(shelf: Shelf):
    swapped = Swapped(shelf)
    engine = swapped.engine
    job = shelf.put(transcribe_task(), speechless(0.001, stretches=3))
    engine.open(job)
    run(engine, lambda _: len(swapped.models) == 1 and bool((model := swapped.models[0]()) and model.heard))
    seen = swapped.swap()
    gc.collect()
    assert swapped.models[0]() is None  # nobody holds it
    heard_before = engine._jobs[job.id]._heard
    assert heard_before >= 1
    result = transcription_of(*ends([*seen, *run(engine, all_ended(engine))]))
    assert len(swapped.models) == 2
    assert [segment.start for segment in result.segments] == [0.5, 30.5, 60.5]
    assert (last := swapped.models[1]()) is not None
    assert len(last.heard) == 3 - heard_before
    engine.close()


def test_parking_waits_for_the_pass_and_keeps_what_it_heard(
    engine: TranscribeEngine, shelf: Shelf, model: QuickWhisper
):
    engine.open(shelf.put(transcribe_task(), speechless(0.001, stretches=2)))
    until_busy(engine, model)
    parked = threading.Thread(target=engine.park)
    parked.start()
    parked.join(0.05)
    assert parked.is_alive()
    model.go.set()
    parked.join(LIMIT)
    assert not parked.is_alive()
    assert engine._pass is None
    assert len(ends(run(engine, all_ended(engine)))) == 1
    assert len(model.heard) == 2


def test_a_result_holds_no_part_of_the_recording(engine: TranscribeEngine, shelf: Shelf):
    job = shelf.put(transcribe_task(), speechless(0.001, stretches=1))
    opened: list[Waveform] = []
    plain = shelf.recording

    def recording(job: Job, cancelled: Callable[[], bool]) -> Waveform:
        opened.append(plain(job, cancelled))
        return opened[-1]

    shelf.recording = recording
    engine.open(job)
    run(engine, all_ended(engine))
    assert [len(waveform.samples) for waveform in opened] == [0]
    assert np.count_nonzero(shelf.samples[job.job.id])

"""How jobs share passes: order, room, failures, cancels. The networks here answer at once; tests/unit/test_engine_exact.py
has the real ones."""

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import torch

from processor.audio import Waveform
from processor.engines.base import Failed, Finished, JobTask, Progressed
from processor.engines.diarize.analysis import Analysis
from processor.engines.diarize.clustering import BOUNDS_MISSED
from processor.engines.diarize.engine import DiarizeEngine
from processor.engines.diarize.job import Stage
from processor.engines.diarize.passes import Passes
from schemas.errors import AudioUnreadable, EngineFailed, EngineOutOfMemory, StoreUnavailable, WeightsUnavailable
from schemas.jobs import Job, Lane, Mode
from tests.support.engine import (
    STEP,
    QuickClustering,
    QuickModel,
    Shelf,
    all_ended,
    ends,
    made,
    result_of,
    run,
    shelf_of,
    spoken,
    task,
    waveform,
)

LIMIT = 30


@pytest.fixture
def engine(model: QuickModel, shelf: Shelf) -> Iterator[DiarizeEngine]:
    engine = made(shelf, lambda: model)
    yield engine
    engine.close()


def open_when_decoded(engine: DiarizeEngine, *tasks: JobTask) -> None:
    """Open jobs and wait, with no pass run, until all could have a place in one."""
    for each in tasks:
        engine.open(each)
    while any(job.stage is Stage.DECODE for job in engine._jobs.values()):
        engine._settle_decoding()


def test_a_job_goes_through_both_networks(engine: DiarizeEngine, shelf: Shelf, model: QuickModel):
    job = shelf.put(task(), spoken(7, windows=10))
    engine.open(job)
    [finished] = ends(run(engine, all_ended(engine)))
    assert [(name, len(windows)) for name, windows in model.passes] == [
        ("segmentation", 8),
        ("segmentation", 2),
        *[("embedding", 2)] * 5,
    ]
    result = result_of(finished)
    assert result.speakers == ["S7"]
    assert len(result.segments) == 10
    assert result.model.name == "quick"
    assert result.audio.sha256 == job.job.audio.sha256
    assert result.performance == result.timings.total >= 0


def test_windows_where_nobody_speaks_are_not_embedded(engine: DiarizeEngine, shelf: Shelf, model: QuickModel):
    engine.open(shelf.put(task(num_speakers=2), spoken(0, windows=9)))
    [finished] = ends(run(engine, all_ended(engine)))
    assert {name for name, _ in model.passes} == {"segmentation"}
    result = result_of(finished)
    assert (result.segments, result.num_speakers, result.speakers) == ([], 0, [])
    assert result.warnings == [BOUNDS_MISSED]


def test_the_room_a_job_leaves_in_a_pass_goes_to_the_next(engine: DiarizeEngine, shelf: Shelf, model: QuickModel):
    open_when_decoded(engine, *(shelf.put(task(), spoken(value, windows=3)) for value in (1, 2, 3)))
    found = {end.id: result_of(end) for end in ends(run(engine, all_ended(engine)))}
    assert [(name, windows) for name, windows in model.passes] == [
        ("segmentation", [1, 1, 1, 2, 2, 2, 3, 3]),
        ("embedding", [1, 1]),  # the most urgent job does not wait until the last one is segmented
        ("embedding", [1, 2]),
        ("embedding", [2, 2]),
        ("segmentation", [3]),
        ("embedding", [3, 3]),
        ("embedding", [3]),
    ]
    assert sorted(result.speakers[0] for result in found.values()) == ["S1", "S2", "S3"]


def test_an_interactive_job_overtakes_at_the_next_step(engine: DiarizeEngine, shelf: Shelf, model: QuickModel):
    slow, urgent = task(Lane.BATCH), task(Lane.INTERACTIVE)
    open_when_decoded(engine, shelf.put(slow, spoken(1, windows=100)))
    run(engine, lambda _: len(model.passes) == 2)
    open_when_decoded(engine, shelf.put(urgent, spoken(2, windows=2)))
    first = next(end for end in ends(run(engine, lambda seen: bool(ends(seen)))))
    assert first.id == urgent.id
    assert [windows[:2] for _, windows in model.passes[2:4]] == [[2, 2], [2, 2]]
    assert len(ends(run(engine, all_ended(engine)))) == 1


def test_of_jobs_that_share_a_pass_only_the_bad_one_fails(engine: DiarizeEngine, shelf: Shelf):
    good, bad, other = task(), task(), task()
    open_when_decoded(
        engine,
        shelf.put(good, spoken(1, windows=2)),
        shelf.put(bad, spoken(QuickModel.BAD, windows=2)),
        shelf.put(other, spoken(3, windows=2)),
    )
    found = {end.id: end for end in ends(run(engine, all_ended(engine)))}
    assert isinstance(failed := found[bad.id], Failed)
    assert failed.error.code == EngineFailed.code
    assert result_of(found[good.id]).speakers == ["S1"]
    assert result_of(found[other.id]).speakers == ["S3"]


class Small(Passes):
    """A network on a device whose memory suffices for passes of so many pieces."""

    def __init__(self, network: Passes, suffices_for: int, error: Exception) -> None:
        super().__init__(network.room)
        self._network, self._suffices_for, self._error = network, suffices_for, error

    def __call__(self, pieces: Sequence[object]) -> object:
        if self.room > self._suffices_for:
            raise self._error
        return self._network(pieces)


SHORTAGE = [
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    MemoryError(),
]


@pytest.mark.parametrize("error", SHORTAGE, ids=lambda error: type(error).__name__)
def test_where_memory_does_not_suffice_passes_get_smaller_and_nobody_fails(
    engine: DiarizeEngine, shelf: Shelf, model: QuickModel, error: Exception
):
    model.segmenter = Small(model.segmenter, 2, error)
    model.embedders[Mode.EXACT] = Small(model.embedders[Mode.EXACT], 1, error)
    jobs = [shelf.put(task(), spoken(value, windows=3)) for value in (1, 2, 3)]
    open_when_decoded(engine, *jobs)
    found = {end.id: result_of(end) for end in ends(run(engine, all_ended(engine)))}
    assert [found[job.id].speakers for job in jobs] == [["S1"], ["S2"], ["S3"]]
    assert all(len(found[job.id].segments) == 3 for job in jobs)
    segmentation = [windows for kind, windows in model.passes if kind == "segmentation"]
    assert max(map(len, segmentation)) == 2
    assert sum(map(len, segmentation)) == 9  # nothing is computed twice
    assert {len(windows) for kind, windows in model.passes if kind == "embedding"} == {1}


@pytest.mark.parametrize("error", SHORTAGE, ids=lambda error: type(error).__name__)
def test_memory_that_does_not_suffice_for_one_piece_has_its_own_error(
    engine: DiarizeEngine, shelf: Shelf, model: QuickModel, error: Exception
):
    model.segmenter = Small(model.segmenter, 0, error)
    engine.open(shelf.put(task(), spoken(1, windows=2)))
    [failed] = ends(run(engine, all_ended(engine)))
    assert isinstance(failed, Failed)
    assert failed.error.code == EngineOutOfMemory.code
    assert model.segmenter.room == 1


def test_a_job_that_wants_too_much_memory_fails_alone(engine: DiarizeEngine, shelf: Shelf, model: QuickModel):
    class Greedy(Small):
        def __call__(self, pieces: Sequence[np.ndarray]) -> object:
            if any(piece[0] == 7 for piece in pieces):
                raise self._error
            return self._network(pieces)

    model.segmenter = Greedy(model.segmenter, 0, SHORTAGE[0])
    good, bad, other = (shelf.put(task(), spoken(value, windows=2)) for value in (1, 7, 3))
    open_when_decoded(engine, good, bad, other)
    found = {end.id: end for end in ends(run(engine, all_ended(engine)))}
    assert isinstance(failed := found[bad.id], Failed)
    assert failed.error.code == EngineOutOfMemory.code
    assert result_of(found[good.id]).speakers == ["S1"]
    assert result_of(found[other.id]).speakers == ["S3"]


def test_a_recording_that_cannot_be_had_fails_its_job_alone(model: QuickModel, shelf: Shelf):
    bad, good = task(), shelf.put(task(), spoken(1, windows=1))

    def recording(job: Job, cancelled: Callable[[], bool]) -> Waveform:
        if job.id == bad.job.id:
            raise AudioUnreadable("only noise")
        return shelf.recording(job, cancelled)

    engine = made(shelf_of(recording), lambda: model)
    for each in (bad, good):
        engine.open(each)
    found = {end.id: end for end in ends(run(engine, all_ended(engine)))}
    assert found[bad.id] == Failed(bad.id, AudioUnreadable("only noise").info)
    assert isinstance(found[good.id], Finished)
    engine.close()


def test_a_recording_that_can_no_longer_be_read_fails_its_job_alone(engine: DiarizeEngine, shelf: Shelf):
    class Cut(np.ndarray):
        """What is spooled to a disk that fails later."""

        def __getitem__(self, part: slice) -> np.ndarray:
            if part.start > 6 * STEP:
                raise StoreUnavailable("The spool was cut")
            return np.asarray(super().__getitem__(part))

    bad, good = task(), shelf.put(task(), spoken(2, windows=9))
    shelf.recording = lambda job, _, plain=shelf.recording: (
        waveform(spoken(1, windows=9).view(Cut)) if job.id == bad.job.id else plain(job, _)
    )
    open_when_decoded(engine, bad, good)
    found = {end.id: end for end in ends(run(engine, all_ended(engine)))}
    assert found[bad.id] == Failed(bad.id, StoreUnavailable("The spool was cut").info)
    assert len(result_of(found[good.id]).segments) == 9


@pytest.mark.parametrize("mode", list(Mode))
def test_a_recording_of_nothing_has_no_turns(engine: DiarizeEngine, shelf: Shelf, mode: Mode):
    engine.open(shelf.put(task(mode=mode), np.empty(0, np.float32)))
    [finished] = ends(run(engine, all_ended(engine)))
    assert (result_of(finished).segments, result_of(finished).audio.duration) == ([], 0)


def test_jobs_wait_for_the_model_and_say_so(shelf: Shelf, model: QuickModel):
    go = threading.Event()

    def load() -> QuickModel:
        assert go.wait(LIMIT)
        return model

    engine = made(shelf, load)
    engine.open(shelf.put(task(), spoken(1, windows=1)))
    stages = {outcome.progress.stage for outcome in run(engine, _told("load")) if isinstance(outcome, Progressed)}
    assert stages <= {"decode", "load"}
    assert engine._models.loading
    waited_until = time.monotonic() + 0.01
    run(engine, lambda _: time.monotonic() > waited_until)
    go.set()
    [finished] = ends(run(engine, all_ended(engine)))
    timings = result_of(finished).timings
    assert 0 < timings.load <= timings.total
    engine.close()


def _told(stage: str) -> Callable[[list[object]], bool]:
    return lambda seen: any(isinstance(outcome, Progressed) and outcome.progress.stage == stage for outcome in seen)


def test_a_load_that_fails_fails_its_jobs_and_is_tried_again(shelf: Shelf, model: QuickModel):
    errors = [WeightsUnavailable("no network")]

    def load() -> QuickModel:
        if errors:
            raise errors.pop()
        return model

    engine = made(shelf, load)
    first, second = (shelf.put(task(), spoken(1, windows=1)) for _ in range(2))
    engine.open(first)
    assert ends(run(engine, all_ended(engine))) == [Failed(first.id, WeightsUnavailable("no network").info)]
    engine.open(second)
    assert isinstance(ends(run(engine, all_ended(engine)))[0], Finished)
    engine.close()


def test_a_cancelled_job_leaves_its_place_at_once(engine: DiarizeEngine, shelf: Shelf, model: QuickModel):
    gone, kept = shelf.put(task(), spoken(1, windows=50)), shelf.put(task(), spoken(2, windows=2))
    open_when_decoded(engine, gone, kept)
    run(engine, lambda _: len(model.passes) == 1)
    engine.cancel(gone.id)
    engine.cancel(gone.id)
    model.passes.clear()
    assert [end.id for end in ends(run(engine, all_ended(engine)))] == [kept.id]
    assert all(windows == [2] * len(windows) for _, windows in model.passes)


def test_a_job_cancelled_while_it_is_decoded_stops_that(model: QuickModel):
    stopped = threading.Event()

    def recording(job: Job, cancelled: Callable[[], bool]) -> Waveform:
        while not cancelled():
            started.set()
        stopped.set()
        raise AudioUnreadable

    started = threading.Event()
    engine = made(shelf_of(recording), lambda: model)
    job = task()
    engine.open(job)
    assert started.wait(LIMIT)
    engine.cancel(job.id)
    assert stopped.wait(LIMIT)
    assert engine.settle() == engine.step() == []
    engine.close()


def test_a_job_cancelled_while_it_waits_to_be_clustered_leaves_nothing_in_memory(
    engine: DiarizeEngine, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
):
    go = threading.Event()
    plain = QuickClustering.turns

    def turns(self: QuickClustering, *others: object) -> object:
        assert go.wait(LIMIT)
        return plain(self, *others)

    monkeypatch.setattr(QuickClustering, "turns", turns)
    jobs = [shelf.put(task(Lane.BATCH), spoken(value, windows=2)) for value in (1, 2)]
    for job in jobs:
        engine.open(job)
    run(engine, lambda _: all(job.clustering is not None for job in engine._jobs.values()))
    waiting = engine._jobs[jobs[1].id].kept
    assert waiting is not None
    vectors = weakref.ref(waiting.analyses[0].vectors)
    del waiting
    engine.cancel(jobs[1].id)
    gc.collect()
    assert vectors() is None  # though the one before is still at it
    go.set()
    assert [end.id for end in ends(run(engine, all_ended(engine)))] == [jobs[0].id]


def test_a_decoder_is_kept_for_interactive_jobs(model: QuickModel, shelf: Shelf):
    go = threading.Event()

    def recording(job: Job, cancelled: Callable[[], bool]) -> Waveform:
        waveform = shelf.recording(job, cancelled)
        assert job.lane is Lane.INTERACTIVE or go.wait(LIMIT)
        return waveform

    engine = made(shelf_of(recording), lambda: model)
    batch = [shelf.put(task(Lane.BATCH), spoken(1, windows=1)) for _ in range(3)]
    urgent = shelf.put(task(), spoken(2, windows=1))
    for each in (*batch, urgent):
        engine.open(each)
    assert ends(run(engine, lambda seen: bool(ends(seen))))[0].id == urgent.id
    go.set()
    assert len(ends(run(engine, all_ended(engine)))) == len(batch)
    engine.close()


def test_progress_grows_and_estimates_what_is_left(
    engine: DiarizeEngine, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("processor.engines.listening.TELL", 0)
    engine.open(shelf.put(task(), spoken(1, windows=40)))
    told = [outcome.progress for outcome in run(engine, all_ended(engine)) if isinstance(outcome, Progressed)]
    fractions = [progress.fraction for progress in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 0.99
    order = ["decode", "load", "segmentation", "embedding", "clustering"]
    assert [progress.stage for progress in told] == sorted((progress.stage for progress in told), key=order.index)
    assert told[-1].eta is None  # how long the clustering takes is not known
    assert any(progress.eta is not None for progress in told)


def test_a_result_holds_no_part_of_the_recording(engine: DiarizeEngine, shelf: Shelf):
    job = task()
    opened: list[Waveform] = []
    plain = shelf.recording

    def recording(job: Job, cancelled: Callable[[], bool]) -> Waveform:
        opened.append(plain(job, cancelled))
        return opened[-1]

    shelf.recording = recording
    engine.open(shelf.put(job, spoken(1, windows=3)))
    run(engine, all_ended(engine))
    assert [len(waveform.samples) for waveform in opened] == [0]
    assert np.count_nonzero(shelf.samples[job.job.id]) > 0


def test_an_interactive_job_is_clustered_beside_a_batch_one(
    engine: DiarizeEngine, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
):
    go, clustering = threading.Event(), threading.Event()
    plain = QuickClustering.turns

    def turns(self: QuickClustering, analysis: Analysis, *others: object) -> object:
        if len(analysis.vectors) > 1:  # the batch job
            clustering.set()
            assert go.wait(LIMIT)
        return plain(self, analysis, *others)

    monkeypatch.setattr(QuickClustering, "turns", turns)
    engine.open(shelf.put(task(Lane.BATCH), spoken(1, windows=9)))
    run(engine, lambda _: clustering.is_set())
    urgent = shelf.put(task(), spoken(2, windows=1))
    engine.open(urgent)
    assert [end.id for end in ends(run(engine, lambda seen: bool(ends(seen))))] == [urgent.id]
    go.set()
    run(engine, all_ended(engine))


def test_parameters_that_do_not_fit_fail_their_job(engine: DiarizeEngine):
    bad = task(num_speakers=-1)
    engine.open(bad)
    [failed] = ends(engine.settle())
    assert isinstance(failed, Failed)
    assert failed.error.code == EngineFailed.code
    assert engine.open_jobs == 0

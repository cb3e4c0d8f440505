"""What the names of files make the scripted engine do; how it dies and hangs is tested with its process."""

import time

from processor.engines.base import Failed, Finished, JobTask, Progressed
from processor.engines.scripted import ScriptedEngine
from schemas.errors import EngineFailed, StoreUnavailable
from schemas.jobs import Job
from schemas.operations import DIARIZE
from tests.support.engine import Shelf, all_ended, context_of, ends, result_of, run
from tests.support.worker import new_job


def opened(*filenames: str) -> tuple[ScriptedEngine, list[JobTask]]:
    engine = ScriptedEngine(DIARIZE, context_of(Shelf().recording, {}))
    run(engine, lambda _: engine.step() == [] and bool(engine._models.resident))
    tasks = [JobTask(new_job(filename), "live", "diarize", {}) for filename in filenames]
    for task in tasks:
        engine.open(task)
    return engine, tasks


def test_any_file_succeeds_at_the_first_step():
    engine, [task] = opened("meeting.mp3")
    [finished] = engine.step()
    assert finished.id == task.id
    assert result_of(finished).num_speakers == 2
    assert engine.open_jobs == 0


def test_an_error_is_an_outcome():
    engine, [bad, good] = opened("error-3.wav", "good.wav")
    outcomes = {outcome.id: outcome for outcome in engine.step()}
    assert isinstance(failed := outcomes[bad.id], Failed)
    assert failed.error.code == EngineFailed.code
    assert isinstance(outcomes[good.id], Finished)


def test_sleeping_takes_its_time_and_tells_of_it():
    engine, _ = opened("sleep-0.4.wav")
    started = time.monotonic()
    seen = run(engine, all_ended(engine))
    assert 0.4 <= time.monotonic() - started < 5
    progress = [outcome.progress for outcome in seen if isinstance(outcome, Progressed)]
    assert [step.fraction for step in progress] == sorted(step.fraction for step in progress)
    assert len(ends(seen)) == 1


def test_a_cancelled_job_has_no_outcome():
    engine, [gone, kept] = opened("a.wav", "b.wav")
    engine.cancel(gone.id)
    engine.cancel(gone.id)
    assert [outcome.id for outcome in engine.step()] == [kept.id]


def test_a_step_that_loads_is_announced():
    engine, _ = opened("load-0.1.wav")
    assert engine.silent
    run(engine, all_ended(engine))
    assert not engine.silent


def test_what_is_fetched_may_be_away():
    class Away(Shelf):
        def analysis(self, job: Job, fingerprint: str) -> bytes | None:
            raise StoreUnavailable("away")

    for shelf, end in ((Shelf(), Finished), (Away(), Failed)):
        engine = ScriptedEngine(DIARIZE, context_of(shelf, {}))
        engine.open(JobTask(new_job("fetch-0.1.wav"), "live", "diarize", {}))
        [seen] = ends(run(engine, all_ended(engine)))
        assert isinstance(seen, end)
    assert seen.error == StoreUnavailable("away").info

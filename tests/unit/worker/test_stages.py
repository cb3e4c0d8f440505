"""Operations of several stages, and models that take turns."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from processor.engines.base import ModelsChanged
from schemas.errors import EngineCrashed
from schemas.jobs import JobState, Lane
from schemas.operations import DIARIZE, TRANSCRIBE, TRANSCRIPT
from schemas.results import TranscriptCompleted, TranscriptionCompleted
from tests.support.lone_worker import LoneWorker
from tests.support.worker import accept, job_event, new_job
from turnstream.records import Attempts

Id = tuple[str, str]


def found(model: str) -> Mapping[str, Any]:
    return {"diarize": DIARIZE, "transcribe": TRANSCRIBE}[model].example


async def through(stack: LoneWorker, id: Id, *models: str) -> None:
    """The engine does the stages of a job, one after the other."""
    for model in models:
        await stack.until(
            lambda model=model: [task.model for task in stack.engine.tasks if task.id == id][-1:] == [model]
        )
        stack.engine.finish(id, found(model))


async def test_a_transcript_is_made_in_two_stages_and_told_once(stack: LoneWorker):
    id = stack.submit(operation="transcript")
    await through(stack, id, "diarize", "transcribe")
    await stack.until(lambda: stack.acked == [0])
    (event,) = stack.told("transcription-results")
    result = event.read(TRANSCRIPT.completed, TranscriptCompleted).result
    assert result is not None
    assert [segment.speaker for segment in result.segments] == ["SPEAKER_00", "SPEAKER_01"]
    assert set(result.timings) == {"diarize", "transcribe"}
    assert stack.engine.focused == ["diarize", "transcribe"]
    assert not stack.records.is_pending(*id)
    assert stack.records.stage(*id, "diarize") is None, "what a stage found is kept as long as it is needed"


async def test_each_stage_gets_its_own_parameters(stack: LoneWorker):
    job = new_job(operation="transcript").model_copy(update={"params": {"language": "en", "num_speakers": 2}})
    id = stack.submit(job)
    await through(stack, id, "diarize", "transcribe")
    diarize, transcribe = (task.params for task in stack.engine.tasks)
    assert diarize["num_speakers"] == 2
    assert "language" not in diarize
    assert transcribe["language"] == "en"
    assert "num_speakers" not in transcribe


async def test_a_stage_that_is_done_is_not_computed_again_by_another_worker(stack: LoneWorker):
    id = stack.submit(operation="transcript")
    await through(stack, id, "diarize")
    await stack.until(lambda: stack.engine.opened == [id, id])
    event = job_event(stack.records.job(id[0]))
    await stack.worker.close()
    stack.start_over()
    await stack.start()
    stack.receive(event)
    # The try of the other worker counts for the stage it was in: it is repeated alone, and the first one is not.
    await through(stack, id, "transcribe")
    await stack.until(lambda: stack.state(id) is JobState.SUCCEEDED)
    assert [task.model for task in stack.engine.tasks] == ["transcribe"]


async def test_a_worker_that_finds_all_stages_done_only_combines_them(stack: LoneWorker):
    job = accept(stack.records, new_job(operation="transcript"))
    for model in ("diarize", "transcribe"):
        stack.records.put_stage(job.id, "live", model, found(model) | {"timings": dict(found(model)["timings"])})
    stack.receive(job_event(job))
    await stack.until(lambda: stack.state((job.id, "live")) is JobState.SUCCEEDED)
    assert stack.engine.opened == []


async def test_tries_are_counted_for_each_stage(stack: LoneWorker):
    id = stack.submit(operation="transcript")
    await stack.until(lambda: stack.engine.open_ids)
    stack.engine.die(EngineCrashed("bang").info)
    await stack.until(lambda: len(stack.engine.tasks) == 2)
    stack.engine.finish(id, found("diarize"))
    await stack.until(lambda: len(stack.engine.tasks) == 3)
    assert stack.records.attempts(*id).count == 1
    stack.engine.finish(id, found("transcribe"))
    await stack.until(lambda: stack.state(id) is JobState.SUCCEEDED)


async def test_the_tries_of_a_stage_that_is_done_do_not_count_for_the_next(stack: LoneWorker):
    """Its last try succeeded, and the worker died before it had given the run back."""
    job = accept(stack.records, new_job(operation="transcript"))
    stack.records.put_attempts(
        job.id, "live", Attempts(count=3, stage="diarize", worker="worker/1", until=job.created_at)
    )
    stack.records.put_stage(
        job.id, "live", "diarize", found("diarize") | {"timings": dict(found("diarize")["timings"])}
    )
    stack.receive(job_event(job))
    await through(stack, (job.id, "live"), "transcribe")
    await stack.until(lambda: stack.state((job.id, "live")) is JobState.SUCCEEDED)


async def test_a_cancel_between_two_stages_ends_the_run(stack: LoneWorker, monkeypatch: pytest.MonkeyPatch):
    id = stack.submit(operation="transcript")
    await stack.until(lambda: stack.engine.open_ids)
    stack.store.break_down()  # the stage's find cannot be kept, so the worker stays between the two
    stack.engine.finish(id, found("diarize"))
    await stack.quiet()
    await stack.worker.cancel(id)
    stack.store.mend()
    await stack.until(lambda: stack.state(id) is JobState.CANCELLED)
    assert [task.model for task in stack.engine.tasks] == ["diarize"]


async def test_a_cancel_in_the_second_stage_leaves_nothing_of_the_first(stack: LoneWorker):
    id = stack.submit(operation="transcript")
    await stack.until(lambda: stack.engine.open_ids)
    stack.engine.finish(id, found("diarize"))
    await stack.until(lambda: len(stack.engine.tasks) == 2)
    stack.records.put_cancelled(*id)  # the API stores the end before it tells of it
    await stack.cancel(id)
    await stack.until(lambda: stack.acked == [0])
    assert stack.state(id) is JobState.CANCELLED
    assert stack.records.stage(*id, "diarize") is None


@pytest.mark.parametrize("moved", [False, True])
async def test_of_a_job_erased_while_a_stage_was_kept_nothing_stays(stack: LoneWorker, moved: bool):
    job = accept(stack.records, new_job(operation="transcript"))
    id = job.id, "live"
    stack.receive(job_event(job), 0)
    await stack.until(lambda: stack.engine.open_ids)
    erased = threading.Event()
    put = stack.records.put_stage

    def put_later(*args: Any) -> None:
        erased.wait(5)
        put(*args)

    stack.records.put_stage = put_later
    stack.engine.finish(id, found("diarize"))
    await stack.quiet()
    stack.records.erase(job.id)
    if moved:  # to nobody, and back once the stage is kept
        stack.worker.revoked()
        erased.set()
        await stack.until(lambda: stack.records.stage(*id, "diarize") is not None)
        await stack.quiet()
        stack.worker.assigned({0})
        stack.receive(job_event(job), 0)
    else:
        await stack.worker.cancel(id)
        erased.set()
    await stack.until(lambda: stack.acked == [0])
    assert list(stack.store.list(f"jobs/{job.id}/")) == []
    assert stack.told("transcription-results") == []


async def test_stages_that_cannot_be_combined_fail_the_job_alone(stack: LoneWorker):
    id = stack.submit(operation="transcript")
    await stack.until(lambda: stack.engine.open_ids)
    stack.engine.finish(id, {"segments": "none", "timings": {}})
    await through(stack, id, "transcribe")
    await stack.come_back()
    await stack.until(lambda: len(stack.engine.tasks) == 3)
    await through(stack, id, "transcribe")
    await stack.until(lambda: stack.state(id) is JobState.FAILED)
    ending = stack.records.ending(*id)
    assert ending is not None and ending.error is not None
    assert ending.error.code == "engine_failed"


async def test_jobs_of_the_warm_model_go_first(stack: LoneWorker):
    first = stack.submit(operation="diarize")
    await stack.until(lambda: stack.engine.open_ids == [first])
    other = stack.submit(operation="transcribe")
    second = stack.submit(operation="diarize")
    await stack.until(lambda: stack.engine.open_ids == [first, second])
    stack.engine.finish(first)
    stack.engine.finish(second)
    await through(stack, other, "transcribe")
    await stack.until(lambda: len(stack.acked) == 3)
    assert stack.engine.focused == ["diarize", "transcribe"]
    told = stack.told("transcription-results")
    assert [event.read(TRANSCRIBE.completed, TranscriptionCompleted).job_id for event in told] == [other[0]]


async def test_a_job_that_has_waited_long_enough_gets_the_engine_and_the_long_one_is_parked(tmp_path: Path):
    stack = await LoneWorker(tmp_path, diarization_max_batch_size=2, max_wait=0.05).start()
    long = stack.submit(operation="diarize", lane=Lane.BATCH)
    await stack.until(lambda: stack.engine.open_ids == [long])
    other = stack.submit(operation="transcribe")
    await stack.until(lambda: stack.engine.open_ids == [long, other])  # nobody calls the worker: it wakes up by itself
    assert stack.engine.focused == ["diarize", "transcribe"]
    assert stack.worker.metrics.exposition()[0].count(b"turnstream_jobs_parked 1.0") == 1
    stack.engine.finish(other, found("transcribe"))
    await stack.until(lambda: stack.engine.focused == ["diarize", "transcribe", "diarize"])
    stack.engine.finish(long)
    await stack.until(lambda: stack.state(long) is JobState.SUCCEEDED)
    assert stack.engine.opened == [long, other], "a parked job goes on, it is not opened again"
    await stack.worker.close()


async def test_a_parked_job_can_be_cancelled(tmp_path: Path):
    stack = await LoneWorker(tmp_path, max_wait=0.05).start()
    long, other = stack.submit(operation="diarize"), stack.submit(operation="transcribe")
    await stack.until(lambda: stack.engine.open_ids == [long, other])
    await stack.cancel(long)
    await stack.until(lambda: stack.state(long) is JobState.CANCELLED)
    assert stack.engine.cancelled == [long]
    await stack.worker.close()


async def test_models_that_fit_together_are_served_without_waiting(stack: LoneWorker):
    first = stack.submit(operation="diarize")
    await stack.until(lambda: stack.engine.open_ids == [first])
    stack.engine.say(ModelsChanged(resident=("diarize",), fitting=("transcribe",)))
    other = stack.submit(operation="transcribe")
    await stack.until(lambda: stack.engine.open_ids == [first, other])
    stack.engine.say(ModelsChanged(resident=("diarize", "transcribe")))
    third = stack.submit(operation="diarize")
    stack.engine.finish(other, found("transcribe"))
    await stack.until(lambda: stack.engine.open_ids == [first, third])
    assert stack.engine.focused == ["diarize", "transcribe"]

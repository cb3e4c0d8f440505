"""What earlier releases stored and published is read today, and says the same when it is written again."""

import json
from pathlib import Path

import pytest
from pydantic import BaseModel

from schemas.jobs import DiarizeParams, Job, JobRequested, Mode
from schemas.results import DiarizationCompleted, DiarizationResult

STORED = Path(__file__).parent / "stored"


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("job.json", Job),
        ("requested.json", JobRequested),
        ("result.json", DiarizationResult),
        ("completed.json", DiarizationCompleted),
    ],
)
def test_what_was_stored_before_is_read(name: str, model: type[BaseModel]):
    text = (STORED / name).read_text()
    read = model.model_validate_json(text)
    written = json.loads(read.model_dump_json(exclude_none=True, exclude_unset=True))
    assert written == json.loads(text)


def test_a_job_that_asked_for_the_exact_turns_still_does():
    job = Job.model_validate_json((STORED / "job.json").read_text())
    assert DiarizeParams.model_validate(job.params).mode is Mode.EXACT


def test_what_is_new_in_a_result_has_values_that_promise_nothing():
    result = DiarizationResult.model_validate_json((STORED / "result.json").read_text())
    assert (result.speaker_stats, result.overlap_share, result.segments[0].channel) == ([], 0.0, None)

"""Parameters say what is wrong with them, ids are strict, values ignore what a later release adds."""

import pytest
from pydantic import TypeAdapter, ValidationError

from schemas.jobs import MAX_SPEAKERS, DiarizeParams, JobId, JobState, Progress, RunName, TranscribeParams


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"num_speakers": 1},
        {"num_speakers": MAX_SPEAKERS},
        {"min_speakers": 2, "max_speakers": 2},
        {"num_speakers": 3, "min_speakers": 2, "max_speakers": 4},
        {"mode": "exact"},
        {"mode": "fast", "channels": "split", "embeddings": True},
        {"min_duration_off": 0.5, "min_duration_on": 0.25},
    ],
)
def test_good_parameters(params: dict[str, object]):
    assert DiarizeParams.model_validate(params).model_dump(exclude_unset=True) == params


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"num_speakers": 0}, "greater than or equal to 1"),
        ({"num_speakers": 1000}, "less than or equal to 100"),
        ({"min_speakers": 3, "max_speakers": 2}, "larger than max_speakers"),
        ({"num_speakers": 5, "max_speakers": 2}, "outside"),
        ({"speakers": 2}, "Extra inputs"),
        ({"num_speakers": "two"}, "valid integer"),
        ({"mode": "sloppy"}, "'exact' or 'fast'"),
        ({"channels": "left"}, "'mix' or 'split'"),
        ({"embeddings": "some"}, "valid boolean"),
        ({"min_duration_off": -0.1}, "greater than or equal to 0"),
        ({"min_duration_on": 61}, "less than or equal to 60"),
        ({"min_duration_on": "nan"}, "less than|greater than|finite"),
        ({"min_duration_off": "nan"}, "less than|greater than|finite"),
    ],
)
def test_bad_parameters(params: dict[str, object], message: str):
    with pytest.raises(ValidationError, match=message):
        DiarizeParams.model_validate(params)


@pytest.mark.parametrize(("given", "code"), [("en", "en"), ("EN", "en"), (" Haw", "haw"), (None, None)])
def test_a_language_is_a_code(given: str | None, code: str | None):
    assert TranscribeParams(language=given).language == code


@pytest.mark.parametrize("given", ["", "e", "english", "en-US", "d\0e", "e" * 1000])
def test_what_is_no_language_code_is_told_what_one_looks_like(given: str):
    with pytest.raises(ValidationError, match=r"is not a code .* such as en") as error:
        TranscribeParams(language=given)
    assert len(error.value.errors()[0]["msg"]) < 200


@pytest.mark.parametrize(
    "text", ["", "x", "../etc", "0190A000-0000-7000-8000-000000000000", "0190a000-0000-4000-8000-000000000000"]
)
def test_an_id_is_a_uuid7_in_lower_case(text: str):
    with pytest.raises(ValidationError):
        TypeAdapter(JobId).validate_python(text)


@pytest.mark.parametrize("text", ["", "..", "a/b", "A", "-a", "a" * 64])
def test_a_run_is_a_name_that_fits_into_a_key(text: str):
    with pytest.raises(ValidationError):
        TypeAdapter(RunName).validate_python(text)


def test_a_reader_ignores_what_a_later_release_adds():
    assert Progress.model_validate({"stage": "decode", "fraction": 0.5, "mood": "good"}).fraction == 0.5


@pytest.mark.parametrize("eta", [float("inf"), float("-inf"), float("nan")])
def test_no_number_is_one_that_json_cannot_say(eta: float):
    with pytest.raises(ValidationError, match="finite"):
        Progress(stage="decode", fraction=0.5, eta=eta)


def test_states():
    assert {state for state in JobState if state.ended} == {"succeeded", "failed", "cancelled"}

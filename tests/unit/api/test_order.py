"""The parameters of a further run: those of the job, but for what the form says."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer_api.form import Upload
from producer_api.order import read_run
from schemas.errors import InvalidRequest
from schemas.jobs import DiarizeParams, Params
from schemas.operations import DIARIZE

VALUES = {
    "num_speakers": st.integers(1, 100),
    "mode": st.sampled_from(["exact", "fast"]),
    "channels": st.sampled_from(["mix", "split"]),
    "embeddings": st.booleans(),
    "min_duration_off": st.floats(0, 60),
    "min_duration_on": st.floats(0, 60),
}
SOME = st.fixed_dictionaries({}, optional=VALUES)


def stored(params: dict[str, object]) -> Params:
    """As a job keeps them."""
    return DiarizeParams.model_validate(params).model_dump(mode="json", exclude_none=True)


def form(fields: dict[str, object], emptied: set[str]) -> Upload:
    return Upload(Path("none"), None, {name: str(value) for name, value in fields.items()}, frozenset(emptied))


@given(SOME, SOME, st.sets(st.sampled_from(sorted(VALUES))))
def test_what_the_form_says_goes_before_what_the_job_says(job, said, emptied):
    emptied -= said.keys()
    name, params = read_run(form({"run": "again", **said}, emptied), DIARIZE, stored(job))
    kept = {field: value for field, value in job.items() if field not in emptied}
    assert (name, params) == ("again", stored(kept | said))


@given(SOME)
def test_an_empty_form_asks_for_the_same_again(job):
    assert read_run(form({}, {"run"}), DIARIZE, stored(job)) == (None, stored(job))


def test_fields_are_refused_also_when_they_are_empty():
    with pytest.raises(InvalidRequest, match="takes no field 'operation'; it takes run, webhook_url, num_speakers"):
        read_run(form({}, {"operation"}), DIARIZE, {})

"""What an erasure takes, and what it leaves, wherever it is interrupted."""

import pytest
from pydantic import TypeAdapter, ValidationError

from schemas.errors import StoreUnavailable
from schemas.jobs import LIVE_RUN, Job, RunName
from tests.support.jobs import NOON, RESULT, create, make_job
from tests.support.stores import WatchedStore, keys
from turnstream.object_store.memory import MemoryStore
from turnstream.records import ERASURE, Attempts, Mark, MarkState, Records


def populate(records: Records) -> Job:
    """A job that has ended, with a replay under way, beside another one."""
    job = create(records, make_job())
    records.put_attempts(job.id, LIVE_RUN, Attempts(count=1))
    records.put_result(job.id, LIVE_RUN, RESULT)
    records.remove_mark(job.id, LIVE_RUN)
    records.put_mark(job.id, "replay", Mark(state=MarkState.QUEUED, at=NOON))
    return job


def test_erase_removes_everything_about_a_job_and_nothing_else(records: Records, store: MemoryStore) -> None:
    other = create(records, make_job(2))
    before = keys(store)
    records.erase(populate(records).id)
    assert keys(store) == before
    assert records.job(other.id) == other


@pytest.mark.parametrize("changes", range(9))
def test_an_erasure_interrupted_anywhere_is_found_by_the_sweep(changes: int) -> None:
    """Whatever a worker does to the marks of the runs meanwhile."""
    store = WatchedStore()
    records = Records(store)
    job = populate(records)
    store.changes.clear()
    store.allowed = changes
    with pytest.raises(StoreUnavailable):
        records.erase(job.id)
    store.allowed = 1000
    if changes < 3:
        assert records.job(job.id) == job
    if changes == 0:
        return  # as if erase had not been called
    for run in (LIVE_RUN, "replay"):
        records.remove_mark(job.id, run)
    assert [(run, mark.state) for _, run, mark in records.pending()] == [(ERASURE, MarkState.ERASING)]
    records.erase(job.id)  # as the sweep does
    assert keys(store) == []


def test_an_erasure_takes_the_nine_steps_that_are_interrupted_above() -> None:
    store = WatchedStore()
    job = populate(Records(store))
    store.changes.clear()
    Records(store).erase(job.id)
    assert len(store.changes) == 9
    marks = f"pending/{job.id}"
    assert store.changes[0] == f"put {marks}/~erase"
    assert store.changes[1].startswith("delete index/")
    assert store.changes[2] == f"delete jobs/{job.id}/job.json"
    assert store.changes[-2:] == [f"delete {marks}/replay", f"delete {marks}/~erase"]


def test_an_erasure_is_no_run(records: Records) -> None:
    job = create(records, make_job())
    records.put_mark(job.id, ERASURE, Mark(state=MarkState.ERASING, at=NOON))
    assert records.run_names(job.id) == [LIVE_RUN]
    with pytest.raises(ValidationError):
        TypeAdapter(RunName).validate_python(ERASURE)

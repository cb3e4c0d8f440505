"""What networks said of a recording is kept as long as its job."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.jobs import create, make_job
from tests.support.stores import S3Server, WatchedStore, keys, minio_store
from turnstream.object_store.base import ObjectStore
from turnstream.object_store.filesystem import FilesystemStore
from turnstream.object_store.memory import MemoryStore
from turnstream.records import Records


@pytest.fixture(params=["memory", "filesystem", "minio"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    match request.param:
        case "memory":
            yield MemoryStore()
        case "filesystem":
            yield FilesystemStore(tmp_path / "objects")
        case _:
            with S3Server() as server:
                store = minio_store(server.endpoint)
                yield store
                store.close()


def test_an_analysis_is_kept_as_long_as_its_job(any_store: ObjectStore) -> None:
    records = Records(any_store)
    job = create(records, make_job())
    assert records.analysis(job.id, "3f2a9c") is None
    records.keep_analysis(job.id, "3f2a9c", b"arrays" * 100_000)
    records.keep_analysis(job.id, "77aa01", b"of another mode")
    assert records.analysis(job.id, "3f2a9c") == b"arrays" * 100_000
    records.erase(job.id)
    assert list(any_store.list("jobs/")) == []


def test_nothing_is_kept_of_a_job_that_is_erased_meanwhile(records: Records, store: MemoryStore) -> None:
    job = create(records, make_job())
    records.erase(job.id)
    records.keep_analysis(job.id, "3f2a9c", b"arrays")
    assert keys(store) == []


def test_an_erasure_tells_those_who_still_write_before_it_looks_for_what_they_wrote() -> None:
    store = WatchedStore()
    job = create(Records(store), make_job())
    Records(store).keep_analysis(job.id, "3f2a9c", b"arrays")
    store.changes.clear()
    Records(store).erase(job.id)
    of_job = [change for change in store.changes if "jobs/" in change]
    assert of_job[0] == f"delete jobs/{job.id}/job.json"

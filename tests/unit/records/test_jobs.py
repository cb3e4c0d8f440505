"""The life of a job in the object store."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from schemas.errors import JobNotFound, StoreUnavailable
from schemas.jobs import LIVE_RUN
from tests.support.jobs import AUDIO, NOON, create, job_id, make_job
from tests.support.stores import WatchedStore, keys
from turnstream.object_store.base import ObjectNotFound
from turnstream.object_store.filesystem import FilesystemStore
from turnstream.object_store.memory import MemoryStore
from turnstream.records import MarkState, Records

# A job


def test_a_webhook_is_queued_after_the_job_is_whole() -> None:
    store = WatchedStore()
    job = create(Records(store), make_job().model_copy(update={"webhook_url": "https://receiver.example/"}))
    assert store.changes[-2:] == [
        f"put index/alice/{keys(store, 'index/alice/')[0].removeprefix('index/alice/')}",
        f"put webhooks/{int(NOON.timestamp() * 1000) + 60_000}/{job.id}/live",
    ]
    Records(store).erase(job.id)
    assert keys(store) == []


def test_create_writes_the_mark_first() -> None:
    store = WatchedStore()
    job = create(Records(store), make_job())
    assert store.changes == [
        f"put pending/{job.id}/live",
        f"put jobs/{job.id}/audio",
        f"put jobs/{job.id}/job.json",
        f"put index/alice/{9999999999999 - 1777636800000}-{job.id}",
    ]


def test_a_job_comes_back_as_it_was(records: Records) -> None:
    job = create(records, make_job())
    assert records.job(job.id) == job
    mark = records.mark(job.id, LIVE_RUN)
    assert mark is not None
    assert mark.state is MarkState.ACCEPTING
    assert abs(datetime.now(UTC) - mark.at) < timedelta(minutes=1)


def test_an_unknown_job_is_not_found(records: Records, tmp_path: Path) -> None:
    with pytest.raises(JobNotFound):
        records.job(job_id(1))
    with pytest.raises(JobNotFound), records.audio(job_id(1), tmp_path):
        pass
    assert records.mark(job_id(1), LIVE_RUN) is None
    assert records.ending(job_id(1), LIVE_RUN) is None
    assert records.outcome(job_id(1), LIVE_RUN) is None
    assert records.attempts(job_id(1), LIVE_RUN).count == 0


@pytest.mark.parametrize("changes", range(4))
def test_a_submission_interrupted_anywhere_leaves_nothing_that_the_sweep_does_not_find(changes: int) -> None:
    store = WatchedStore(allowed=changes)
    job = make_job()
    with pytest.raises(StoreUnavailable):
        create(Records(store), job)
    store.allowed = 1000
    found = [(id_, run, mark.state) for id_, run, mark in Records(store).pending()]
    assert found == ([(job.id, LIVE_RUN, MarkState.ACCEPTING)] if changes else [])
    for id_, _, _ in found:
        Records(store).erase(id_)
    assert keys(store) == []


def test_a_recording_of_another_size_than_announced_is_not_stored(records: Records, store: MemoryStore) -> None:
    job = make_job()
    with pytest.raises(StoreUnavailable):
        records.create(job, io.BytesIO(AUDIO[:-1]))
    assert keys(store, "jobs/") == []


# The recording


def test_the_recording_is_a_file_while_it_is_used(records: Records, tmp_path: Path) -> None:
    job = create(records, make_job())
    spool = tmp_path / "spool"
    with records.audio(job.id, spool) as file:
        assert file.read() == AUDIO
        assert file.seek(0) == 0
        assert list(spool.iterdir()) == []  # without a name: it is gone with its process, however that ends
    assert file.closed


def test_the_recording_of_a_local_store_is_not_copied(tmp_path: Path) -> None:
    records = Records(FilesystemStore(tmp_path / "objects"))
    job = create(records, make_job())
    with records.audio(job.id, tmp_path / "spool") as file:
        assert file.read() == AUDIO
        assert Path(file.name).is_relative_to(tmp_path / "objects")
    assert file.closed
    assert not (tmp_path / "spool").exists()


def test_what_goes_wrong_with_the_recording_in_hand_is_not_taken_for_its_absence(
    records: Records, tmp_path: Path
) -> None:
    job = create(records, make_job())
    for mishap in (ObjectNotFound("another"), OSError("another")):
        with pytest.raises(type(mishap), match="another"), records.audio(job.id, tmp_path):
            raise mishap
    assert list(tmp_path.iterdir()) == []


def test_a_spool_that_cannot_be_written_is_said_so(records: Records, tmp_path: Path) -> None:
    job = create(records, make_job())
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreUnavailable, match="DATA_DIR"), records.audio(job.id, tmp_path / "file"):
        pass


# An owner's jobs


def test_jobs_come_newest_first_in_pages_and_only_the_owners(records: Records) -> None:
    mine = [create(records, make_job(n, created_at=NOON + timedelta(minutes=n))) for n in range(5)]
    create(records, make_job(9, owner="alice2"))
    newest = [job.id for job in reversed(mine)]

    pages: list[list[str]] = []
    after: str | None = None
    while not pages or after is not None:
        jobs, after = records.jobs("alice", after=after, limit=2)
        pages.append([job.id for job in jobs])
    assert pages == [newest[:2], newest[2:4], newest[4:]]
    assert records.jobs("nobody", after=None, limit=2) == ([], None)


def test_a_full_last_page_has_no_next(records: Records) -> None:
    for number in range(2):
        create(records, make_job(number))
    jobs, after = records.jobs("alice", after=None, limit=2)
    assert (len(jobs), after) == (2, None)


def test_a_cursor_does_not_lead_to_another_owner(records: Records) -> None:
    create(records, make_job(1, owner="bob"))
    for after in ("../bob/", "zzz", "0", "/"):
        assert records.jobs("alice", after=after, limit=5) == ([], None)


def test_erased_and_damaged_jobs_are_left_out(records: Records, store: MemoryStore) -> None:
    jobs = [create(records, make_job(n, created_at=NOON + timedelta(minutes=n))) for n in range(3)]
    store.delete(f"jobs/{jobs[1].id}/job.json")
    store.put(f"jobs/{jobs[2].id}/job.json", b"{}")
    found, _ = records.jobs("alice", after=None, limit=5)
    assert [job.id for job in found] == [jobs[0].id]
    with pytest.raises(StoreUnavailable, match="damaged"):
        records.job(jobs[2].id)

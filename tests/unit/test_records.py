"""The life of a job in the object store."""

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from schemas.errors import ErrorInfo, JobNotFound, LayoutMismatch, StoreUnavailable
from schemas.jobs import LIVE_RUN, AudioInfo, Job, JobState, RunName
from schemas.topics import Layout, Topic
from tests.support.stores import RacedStore, S3Server, WatchedStore, keys, minio_store
from turnstream.object_store.base import ObjectNotFound, ObjectStore
from turnstream.object_store.filesystem import FilesystemStore
from turnstream.object_store.memory import MemoryStore
from turnstream.records import CANCELLED, ERASURE, Attempts, Ending, Mark, MarkState, Records, RunRequest, reference

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
AUDIO = b"RIFF and so on"
RESULT = ErrorInfo(code="stands_for", detail="a result: any model will do")
FAILURE = ErrorInfo(code="engine_failed", detail="it did not work")


def job_id(number: int) -> str:
    return f"0196{number:04x}-0000-7000-8000-{number:012x}"


def make_job(number: int = 1, owner: str = "alice", created_at: datetime = NOON) -> Job:
    audio = AudioInfo(filename="a.wav", size=len(AUDIO), sha256="0" * 64)
    return Job(id=job_id(number), owner=owner, created_at=created_at, audio=audio)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def records(store: MemoryStore) -> Records:
    return Records(store)


def create(records: Records, job: Job) -> Job:
    records.create(job, io.BytesIO(AUDIO))
    return job


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


# Erasing


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


# Marks


def test_pending_lists_the_oldest_first(records: Records, store: MemoryStore) -> None:
    mark = Mark(state=MarkState.QUEUED, at=NOON, topic_id="t", partition=3, offset=17)
    for number in (2, 1, 3):
        records.put_mark(job_id(number), LIVE_RUN, mark)
    records.put_mark(job_id(1), "replay", mark)
    store.put(f"pending/{job_id(2)}/live", b"no mark")
    assert list(records.pending()) == [
        (job_id(1), LIVE_RUN, mark),
        (job_id(1), "replay", mark),
        (job_id(3), LIVE_RUN, mark),
    ]
    records.remove_mark(job_id(1), LIVE_RUN)
    records.remove_mark(job_id(1), LIVE_RUN)
    assert records.mark(job_id(1), LIVE_RUN) is None


def test_a_mark_that_goes_while_pending_is_read_is_left_out(records: Records) -> None:
    for number in (1, 2, 3):
        records.put_mark(job_id(number), LIVE_RUN, Mark(state=MarkState.QUEUED, at=NOON))
    pending = records.pending()
    assert next(pending)[0] == job_id(1)
    records.remove_mark(job_id(2), LIVE_RUN)
    assert [id_ for id_, _, _ in pending] == [job_id(3)]


ACCEPTED = Mark(state=MarkState.ACCEPTING, at=NOON)
QUEUED = Mark(state=MarkState.QUEUED, at=NOON, topic_id="t", partition=3, offset=17)
RETRIED = QUEUED.model_copy(update={"topic": Topic.JOBS_RETRY, "attempt": 1})
AGAIN = QUEUED.model_copy(update={"offset": 30})


@pytest.mark.parametrize(
    "found, lost, becomes",
    [
        (Mark(state=MarkState.ACCEPTING, at=NOON), None, AGAIN),
        (None, None, None),  # by a worker that told the end and removed it
        (RETRIED, None, RETRIED),  # by a worker that was quicker
        (QUEUED, None, QUEUED),  # by a twin of the call
        (QUEUED, QUEUED, AGAIN),  # by the sweep
        (RETRIED, QUEUED, RETRIED),  # by the sweep, while a worker had it after all
    ],
)
def test_where_an_event_lies_is_said_unless_it_is_known_better(
    records: Records, found: Mark | None, lost: Mark | None, becomes: Mark | None
) -> None:
    if found is not None:
        records.put_mark(job_id(1), LIVE_RUN, found)
    records.note_published(job_id(1), LIVE_RUN, AGAIN, lost)
    assert records.mark(job_id(1), LIVE_RUN) == becomes


def test_a_run_whose_end_is_not_told_yet_keeps_its_mark(records: Records) -> None:
    records.put_mark(job_id(1), LIVE_RUN, Mark(state=MarkState.ACCEPTING, at=NOON))
    records.put_error(job_id(1), LIVE_RUN, FAILURE)
    records.note_published(job_id(1), LIVE_RUN, AGAIN)
    assert records.mark(job_id(1), LIVE_RUN) == AGAIN


def test_of_a_run_whose_end_was_told_its_end_stays_alone(records: Records, store: MemoryStore) -> None:
    records.put_mark(job_id(1), LIVE_RUN, AGAIN)
    records.put_stage(job_id(1), LIVE_RUN, "diarize", {"speakers": []})
    records.put_result(job_id(1), LIVE_RUN, RESULT)
    records.clear_run(job_id(1), LIVE_RUN)
    assert {key.rpartition("/")[2] for key in keys(store)} == {"ended.json", "result.json"}


def test_attempts_are_counted_a_run(records: Records) -> None:
    records.put_attempts(job_id(1), LIVE_RUN, Attempts(count=2))
    assert records.attempts(job_id(1), LIVE_RUN).count == 2
    assert records.attempts(job_id(1), "replay").count == 0


# Endings


def put_all(records: Records, names: tuple[str, ...]) -> None:
    calls: dict[str, Callable[[], Any]] = {
        "result": lambda: records.put_result(job_id(1), LIVE_RUN, RESULT),
        "error": lambda: records.put_error(job_id(1), LIVE_RUN, FAILURE),
        "cancelled": lambda: records.put_cancelled(job_id(1), LIVE_RUN),
    }
    for name in names:
        calls[name]()


ENDS = {
    "result": (JobState.SUCCEEDED, None),
    "error": (JobState.FAILED, FAILURE),
    "cancelled": (JobState.CANCELLED, CANCELLED),
}


@pytest.mark.parametrize("names", [names for n in (1, 2, 3) for names in permutations(ENDS, n)])
def test_a_run_has_one_ending_and_it_is_the_first(records: Records, store: MemoryStore, names: tuple[str, ...]) -> None:
    put_all(records, names)
    ending = records.ending(job_id(1), LIVE_RUN)
    assert ending is not None
    assert (ending.state, ending.error) == ENDS[names[0]]
    assert records.outcome(job_id(1), LIVE_RUN) == ENDS[names[0]]
    assert records.store.get(ending.key) == ending.body
    assert records.ended(job_id(1), LIVE_RUN)
    assert not records.ended(job_id(1), "replay")
    prefix = f"jobs/{job_id(1)}/runs/live/"
    assert [key.removeprefix(prefix) for key in keys(store)] == sorted(("ended.json", f"{names[0]}.json"))


@pytest.mark.parametrize("ours", ENDS)
@pytest.mark.parametrize("theirs", ENDS)
def test_of_two_that_race_one_ends_the_run(ours: str, theirs: str) -> None:
    """The other one comes between every two steps of the first in turn."""
    for moment in range(3):
        store = RacedStore(moment, lambda store: put_all(Records(store), (theirs,)))
        records = Records(store)
        put_all(records, (ours,))
        outcome = records.outcome(job_id(1), LIVE_RUN)
        assert outcome in {ENDS[ours], ENDS[theirs]}
        (name,) = (name for name, end in ENDS.items() if end == outcome)
        names = {key.rpartition("/")[2] for key in keys(store)}
        assert names == {"ended.json", f"{name}.json"}, moment


def test_a_result_whose_claimant_died_is_adopted(records: Records, store: MemoryStore) -> None:
    records.put_result(job_id(1), LIVE_RUN, RESULT)
    store.delete(f"jobs/{job_id(1)}/runs/live/ended.json")
    assert not records.ended(job_id(1), LIVE_RUN)
    assert records.adopt_result(job_id(1), LIVE_RUN)
    assert records.outcome(job_id(1), LIVE_RUN) == (JobState.SUCCEEDED, None)
    assert not records.adopt_result(job_id(1), "replay")


@pytest.mark.parametrize("name", ["error", "cancelled"])
def test_an_ending_whose_claimant_died_is_completed(records: Records, store: MemoryStore, name: str) -> None:
    put_all(records, (name,))
    key = f"jobs/{job_id(1)}/runs/live/{name}.json"
    store.delete(key)
    records.complete_ending(job_id(1), LIVE_RUN)
    ending = records.ending(job_id(1), LIVE_RUN)
    assert ending is not None
    assert store.get(key) == ending.body


def test_the_first_result_stays(records: Records) -> None:
    records.put_result(job_id(1), LIVE_RUN, RESULT)
    records.put_result(job_id(1), LIVE_RUN, FAILURE)
    ending = records.ending(job_id(1), LIVE_RUN)
    assert ending is not None
    assert ErrorInfo.model_validate_json(ending.body) == RESULT


def test_a_reference_says_where_and_what() -> None:
    ref = reference(Ending(JobState.SUCCEEDED, "jobs/a/runs/live/result.json", b"abc"))
    assert (ref.key, ref.size) == ("jobs/a/runs/live/result.json", 3)
    assert ref.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# Leases


def test_one_holder_has_the_lease_until_its_end(records: Records) -> None:
    assert records.take_lease("sweep", "a", 60)
    assert not records.take_lease("sweep", "b", 60)
    assert records.take_lease("sweep", "a", -1)  # again, and it ends at once
    assert records.take_lease("sweep", "b", 60)
    assert not records.take_lease("sweep", "a", 60)
    assert records.take_lease("another", "a", 60)


def test_a_lease_is_given_back_by_its_holder_only(records: Records) -> None:
    records.give_back_lease("sweep", "a")
    assert records.take_lease("sweep", "a", 60)
    records.give_back_lease("sweep", "b")
    assert not records.take_lease("sweep", "b", 60)
    records.give_back_lease("sweep", "a")
    assert records.take_lease("sweep", "b", 60)


def test_a_damaged_lease_holds_nobody_up(records: Records, store: MemoryStore) -> None:
    store.put("leases/sweep", b"?")
    assert records.take_lease("sweep", "a", 60)
    assert not records.take_lease("sweep", "b", 60)


# The layout


def test_the_first_layout_holds(records: Records, store: MemoryStore) -> None:
    assert records.layout() is None
    agreed = records.agree_on_layout(2, ["diarize"])
    assert records.agree_on_layout(2, ["diarize"]) == agreed == records.layout()
    with pytest.raises(LayoutMismatch, match="PARTITION_GROUPS=2"):
        records.agree_on_layout(3, ["diarize"])
    store.put("layout/000002.json", Layout(groups=2, results=8).model_dump_json().encode())
    with pytest.raises(LayoutMismatch, match="release"):
        records.agree_on_layout(2, ["diarize"])


def test_a_new_operation_takes_slots_and_one_that_is_gone_keeps_its_own(records: Records) -> None:
    first = records.agree_on_layout(1, ["diarize"])
    second = records.agree_on_layout(1, ["diarize", "speak"])
    assert first.slot.items() < second.slot.items()
    assert records.agree_on_layout(1, ["diarize"]) == second


def test_a_layout_grows_and_never_shrinks(records: Records) -> None:
    before = records.agree_on_layout(2, ["diarize"])
    grown = records.grow_layout(5)
    assert (grown.groups, grown.slot) == (5, before.slot)
    assert records.grow_layout(5) == grown == records.agree_on_layout(5, ["diarize"])
    with pytest.raises(LayoutMismatch, match="fewer"):
        records.grow_layout(4)
    with pytest.raises(LayoutMismatch, match="PARTITION_GROUPS=5"):
        records.agree_on_layout(2, ["diarize"])


def test_processes_that_start_together_agree(records: Records) -> None:
    operations = [f"op-{number}" for number in range(6)]
    with ThreadPoolExecutor(len(operations)) as pool:
        agreed = list(pool.map(lambda name: records.agree_on_layout(1, [name]), operations))
    last = records.layout()
    assert last is not None
    assert len({*last.slot.values()}) == len(last.slot) == 2 * len(operations)
    assert all(layout.slot.items() <= last.slot.items() for layout in agreed)


# Stages


def test_what_a_stage_found_stays_until_the_run_has_its_end(records: Records, store: MemoryStore) -> None:
    job = create(records, make_job())
    assert records.stage(job.id, LIVE_RUN, "diarize") is None
    records.put_stage(job.id, LIVE_RUN, "diarize", {"segments": []})
    records.put_stage(job.id, LIVE_RUN, "diarize", {"segments": ["a second worker's"]})
    assert records.stage(job.id, LIVE_RUN, "diarize") == {"segments": []}
    records.put_result(job.id, LIVE_RUN, RESULT)
    records.forget_stages(job.id, LIVE_RUN)
    assert records.stage(job.id, LIVE_RUN, "diarize") is None
    assert records.ended(job.id, LIVE_RUN)


def test_a_job_without_a_recording(records: Records, tmp_path: Path) -> None:
    job = make_job().model_copy(update={"audio": None})
    records.create(job, None)
    assert records.job(job.id) == job
    with pytest.raises(JobNotFound), records.audio(job.id, tmp_path):
        pass


# Runs


def test_a_name_of_a_run_is_taken_once(records: Records) -> None:
    first, second = (RunRequest(params={"num_speakers": n}, created_at=NOON) for n in (2, 3))
    assert records.request_run(job_id(1), "run-2", first) == first
    assert records.request_run(job_id(1), "run-2", second) == first == records.run_request(job_id(1), "run-2")
    assert records.run_request(job_id(1), "run-3") is None


def test_a_job_of_a_run_has_the_parameters_of_that_run(records: Records) -> None:
    job = create(records, make_job())
    later = RunRequest(params={"num_speakers": 2}, created_at=NOON + timedelta(hours=1))
    records.request_run(job.id, "run-2", later)
    assert records.job_of_run(job.id, LIVE_RUN) == records.job_of_run(job.id, "replay") == job
    expected = job.model_copy(update={"params": later.params, "created_at": later.created_at})
    assert records.job_of_run(job.id, "run-2") == expected
    with pytest.raises(JobNotFound):
        records.job_of_run(job_id(2), "run-2")


def test_a_run_is_known_by_its_mark_or_its_end(records: Records, store: MemoryStore) -> None:
    job = create(records, make_job())
    request = RunRequest(params={}, created_at=NOON)
    for run in ("ended", "pending", "never-published"):
        records.request_run(job.id, run, request)
    records.put_error(job.id, "ended", FAILURE)
    records.put_mark(job.id, "pending", Mark(state=MarkState.QUEUED, at=NOON))
    records.put_result(job.id, "of-a-replay", RESULT)
    assert records.run_names(job.id) == [LIVE_RUN, "ended", "of-a-replay", "pending"]


def test_a_run_that_is_given_up_leaves_what_its_name_means(records: Records, store: MemoryStore) -> None:
    job = create(records, make_job())
    for run in ("run-2", "run-20"):
        records.request_run(job.id, run, RunRequest(params={}, created_at=NOON))
        records.put_mark(job.id, run, ACCEPTED)
    before = keys(store)
    records.give_up_run(job.id, "run-2", ACCEPTED)
    assert set(before) - set(keys(store)) == {f"pending/{job.id}/run-2"}
    store.delete(f"jobs/{job.id}/job.json")  # as an erasure does first
    records.give_up_run(job.id, "run-20", ACCEPTED)
    assert not any(job.id in key for key in keys(store) if not key.startswith("index/"))


def test_who_gives_up_a_run_takes_back_no_mark_but_its_own(records: Records) -> None:
    job = create(records, make_job())
    records.put_mark(job.id, "run-2", QUEUED)
    records.give_up_run(job.id, "run-2", ACCEPTED)
    assert records.mark(job.id, "run-2") == QUEUED
    assert not records.put_first_mark(job.id, "run-2", ACCEPTED)
    assert records.mark(job.id, "run-2") == QUEUED


# What networks said


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


# A store that is away


def test_every_call_passes_on_that_the_store_is_away(records: Records, store: MemoryStore, tmp_path: Path) -> None:
    job = create(records, make_job())
    store.break_down()
    calls: list[Callable[[], object]] = [
        lambda: create(records, job),
        lambda: records.job(job.id),
        lambda: records.jobs("alice", after=None, limit=1),
        lambda: records.audio(job.id, tmp_path).__enter__(),
        lambda: records.erase(job.id),
        lambda: records.mark(job.id, LIVE_RUN),
        lambda: list(records.pending()),
        lambda: records.attempts(job.id, LIVE_RUN).count,
        lambda: records.ending(job.id, LIVE_RUN),
        lambda: records.outcome(job.id, LIVE_RUN),
        lambda: records.ended(job.id, LIVE_RUN),
        lambda: records.put_result(job.id, LIVE_RUN, RESULT),
        lambda: records.take_lease("sweep", "a", 60),
        lambda: records.give_back_lease("sweep", "a"),
        lambda: records.agree_on_layout(1, ["diarize"]),
        lambda: records.request_run(job.id, "run-2", RunRequest(params={}, created_at=NOON)),
        lambda: records.run_names(job.id),
        lambda: records.has_run(job.id, "run-2"),
        lambda: records.job_of_run(job.id, "run-2"),
        lambda: records.give_up_run(job.id, "run-2", ACCEPTED),
        lambda: records.analysis(job.id, "3f2a9c"),
        lambda: records.keep_analysis(job.id, "3f2a9c", b""),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable):
            call()
    store.mend()
    assert records.job(job.id) == job

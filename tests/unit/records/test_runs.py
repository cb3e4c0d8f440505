"""The runs of a job: their marks, what their stages found, and the end that each has once."""

from collections.abc import Callable
from datetime import timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ErrorInfo, JobNotFound
from schemas.jobs import LIVE_RUN, JobState
from schemas.topics import Topic
from tests.support.jobs import ACCEPTED, FAILURE, NOON, RESULT, create, job_id, make_job
from tests.support.stores import RacedStore, keys
from turnstream.object_store.memory import MemoryStore
from turnstream.records import CANCELLED, Attempts, Ending, Mark, MarkState, Records, RunRequest, Witness, reference

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


@pytest.mark.parametrize(
    ("mark", "ended", "accepted"),
    [
        (None, False, False),
        (None, True, True),
        (ACCEPTED, False, False),
        (ACCEPTED, True, True),  # by a worker that was quicker than the mark
        (QUEUED, False, True),
    ],
)
def test_a_run_was_accepted_where_its_event_or_its_end_is_known(
    records: Records, mark: Mark | None, ended: bool, accepted: bool
) -> None:
    if mark is not None:
        records.put_mark(job_id(1), LIVE_RUN, mark)
    if ended:
        records.put_cancelled(job_id(1), LIVE_RUN)
    assert records.was_accepted(job_id(1), LIVE_RUN) is accepted


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


def test_a_witness_may_be_of_a_topic_with_any_id(records: Records) -> None:
    records.put_cancelled(job_id(1), LIVE_RUN)
    witness = Witness.at(Topic.JOBS, "//a+/==", partition=3, offset=17, attempt=0)
    records.add_witness(job_id(1), LIVE_RUN, witness)
    assert records.witnesses(job_id(1), LIVE_RUN) == (witness,)

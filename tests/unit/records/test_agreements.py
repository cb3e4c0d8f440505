"""What processes agree on through the store: leases, the layout, and that it is away."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from schemas.errors import LayoutMismatch, StoreUnavailable
from schemas.jobs import LIVE_RUN
from schemas.topics import Layout
from tests.support.jobs import ACCEPTED, NOON, RESULT, create, make_job
from turnstream.object_store.memory import MemoryStore
from turnstream.records import Records, RunRequest

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

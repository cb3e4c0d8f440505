"""What a worker has open is its own as long as it is heard of, whoever has the record."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from processor import leases, workbench
from processor.leases import Leases
from schemas.errors import AudioUnreadable, EngineCrashed
from schemas.jobs import JobState
from tests.support.duo import LEASE, SILENCE, Duo
from turnstream.records import Attempts


@pytest.fixture
async def duo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Duo]:
    made = Duo(tmp_path, diarization_max_batch_size=2, max_attempts=3)
    monkeypatch.setattr(leases, "now", made.clock)
    monkeypatch.setattr(workbench, "LOOK_AGAIN", 0.002)
    await made.start()
    yield made
    await made.close()


async def opened(duo: Duo, **fields: object):
    """A job that the first worker has open, although the second has its record."""
    id = duo.submit(**fields)
    await duo.until(lambda: duo.at_work(id))
    duo.give(duo.second)
    await duo.quiet()
    return id


async def test_a_job_that_is_open_elsewhere_is_left_there_and_only_acknowledged(duo: Duo):
    id = await opened(duo)
    assert duo.at_work(id) == [duo.first]
    duo.first.engine.finish(id)
    await duo.until(lambda: duo.second.acked == [0])
    assert duo.first.state(id) is JobState.SUCCEEDED
    assert duo.second.engine.opened == []
    assert {event.id for event in duo.first.told()} == {"/".join(id)}
    assert duo.records.mark(*id) is None


async def test_it_takes_no_place_in_the_engine(duo: Duo):
    ids = [duo.submit() for _ in range(2)]
    await duo.until(lambda: len(duo.first.engine.open_ids) == 2)
    duo.give(duo.second)
    more = [duo.submit() for _ in range(2)]
    await duo.until(lambda: duo.second.engine.open_ids == more)
    for id in ids:
        duo.first.engine.finish(id)
    await duo.until(lambda: duo.second.acked == [0, 1])


async def test_as_long_as_its_worker_is_heard_of_nobody_else_opens_it(duo: Duo):
    id = await opened(duo)
    await duo.pass_time(5 * LEASE, duo.first, duo.second)
    await duo.quiet()
    assert duo.at_work(id) == [duo.first]


async def test_when_its_worker_was_silent_for_too_long_it_is_opened_alone_and_that_try_counts(duo: Duo):
    id = await opened(duo)
    await duo.pass_time(SILENCE, duo.second)
    await duo.until(lambda: duo.second in duo.at_work(id))
    assert duo.records.attempts(*id).count == 2


async def test_a_worker_that_was_silent_gives_up_what_another_has_opened(duo: Duo):
    id = await opened(duo)
    await duo.pass_time(SILENCE, duo.second)
    await duo.until(lambda: duo.second in duo.at_work(id))
    await duo.pass_time(1, duo.first, duo.second)
    await duo.until(lambda: duo.at_work(id) == [duo.second])
    duo.second.engine.finish(id)
    await duo.until(lambda: duo.second.acked == [0])
    assert len(duo.first.told()) == 1


async def test_a_worker_that_was_silent_and_still_has_the_record_waits_for_the_other(duo: Duo):
    id = duo.submit()
    await duo.until(lambda: duo.at_work(id) == [duo.first])
    await duo.pass_time(SILENCE)
    duo.give(duo.second, told=False)
    await duo.until(lambda: duo.second in duo.at_work(id))
    await duo.pass_time(1, duo.first, duo.second)
    await duo.until(lambda: duo.at_work(id) == [duo.second])
    duo.second.engine.finish(id)
    await duo.until(
        lambda: duo.first.acked == [0]
    )  # as it took the partition for its own, it told and acknowledged, too
    assert duo.first.engine.opened == [id]


async def test_a_store_that_is_away_costs_the_lease_and_not_the_job(duo: Duo):
    id = duo.submit()
    await duo.until(lambda: duo.at_work(id))
    duo.first.store.break_down()
    await duo.pass_time(SILENCE, duo.first)
    duo.first.store.mend()
    assert duo.at_work(id) == [duo.first]
    await duo.pass_time(1, duo.first)  # nobody else had it
    assert duo.records.attempts(*id).leased("second", duo.clock.now)
    duo.first.engine.finish(id)
    await duo.until(lambda: duo.first.acked == [0])


async def test_two_that_computed_the_same_have_one_end(duo: Duo):
    id = await opened(duo)
    await duo.pass_time(SILENCE, duo.second)
    await duo.until(lambda: duo.second in duo.at_work(id))
    duo.first.engine.fail(id, AudioUnreadable("by the first").info)
    duo.second.engine.finish(id)
    await duo.until(lambda: duo.second.acked == [0])
    await duo.quiet()
    names = duo.records.names(*id)
    assert len(names & {"result", "error", "cancelled"}) == 1
    assert {event.id for event in duo.first.told()} == {"/".join(id)}
    assert len({event.type for event in duo.first.told()}) == 1


async def test_after_a_kill_the_same_worker_goes_on_at_once(duo: Duo):
    id = duo.submit()
    await duo.until(lambda: duo.at_work(id))
    await duo.first.worker.close()  # as a kill: nothing is handed back
    duo.first.start_over()
    await duo.first.start()
    duo.give(duo.first)
    await duo.until(lambda: duo.first.engine.open_ids == [id])
    assert duo.records.attempts(*id).count == 2


async def test_what_was_handed_back_in_order_is_opened_at_once_and_did_not_count(duo: Duo):
    id = duo.submit()
    await duo.until(lambda: duo.at_work(id))
    await duo.first.worker.drain(0)
    assert duo.records.attempts(*id) == Attempts(stage="diarize")
    duo.give(duo.second)
    await duo.until(lambda: duo.at_work(id) == [duo.second])
    assert duo.records.attempts(*id).count == 1


async def test_what_another_worker_has_opened_is_not_handed_back_for_it(duo: Duo):
    id = await opened(duo)
    await duo.pass_time(SILENCE, duo.second)
    await duo.until(lambda: duo.second in duo.at_work(id))
    await duo.first.worker.drain(0)
    assert duo.records.attempts(*id).count == 2
    assert duo.records.attempts(*id).leased("first", duo.clock.now)


async def test_a_job_that_is_open_elsewhere_is_cancelled_there(duo: Duo):
    id = await opened(duo)
    duo.records.put_cancelled(*id)
    await duo.first.cancel(id)
    await duo.until(lambda: duo.second.acked == [0])
    await duo.until(lambda: not duo.at_work(id))
    assert duo.first.state(id) is JobState.CANCELLED
    assert duo.second.engine.opened == []


async def test_a_job_that_is_open_elsewhere_is_dropped_with_its_partition(duo: Duo):
    id = await opened(duo)
    duo.give(duo.first)
    await duo.pass_time(SILENCE, duo.second)
    await duo.quiet()
    assert duo.at_work(id) == [duo.first]
    duo.first.engine.finish(id)
    await duo.until(lambda: duo.first.acked == [0])
    assert duo.second.acked == []


async def test_of_an_erased_job_no_lease_comes_back(duo: Duo):
    id = duo.submit()
    await duo.until(lambda: duo.at_work(id))
    duo.records.erase(id[0])
    await duo.pass_time(3, duo.first)
    assert list(duo.first.store.list("jobs/")) == []


async def test_a_result_whose_worker_died_before_it_claimed_the_end_is_adopted(duo: Duo):
    id = await opened(duo)
    held = duo.first.store
    duo.first.engine.finish(id)
    await duo.until(lambda: duo.second.acked == [0])
    held.delete(f"jobs/{id[0]}/runs/live/ended.json")
    duo.log.append(duo.log[0])
    duo.second.receive(duo.log[0], 1)
    await duo.until(lambda: duo.second.acked == [0, 1])
    assert duo.first.state(id) is JobState.SUCCEEDED
    assert duo.second.engine.opened == []


async def test_a_stage_that_is_done_elsewhere_is_taken_up_and_the_next_one_opened(duo: Duo):
    id = await opened(duo, operation="transcript")
    duo.first.engine.finish(id)
    await duo.until(lambda: duo.at_work(id) == [duo.second])
    assert [task.model for task in duo.second.engine.tasks] == ["transcribe"]
    assert duo.records.attempts(*id).count == 1


async def test_an_engine_that_dies_elsewhere_keeps_the_job_there(duo: Duo):
    id = duo.submit()
    await duo.until(lambda: duo.at_work(id))
    duo.first.engine.die(EngineCrashed("bang").info)
    await duo.until(lambda: len(duo.first.engine.opened) == 2)
    assert duo.records.attempts(*id).count == 2


async def test_a_renewal_that_meets_the_end_of_a_lease_writes_nothing_afterwards(duo: Duo):
    """Else something of a job could come back after it was erased."""
    lost: list[object] = []
    lease = Leases(duo.records, "third", LEASE, lost.append)
    id = ("a-job", "live")
    await lease.take(id, Attempts(count=1))
    await lease.let_go(id)
    before = duo.records.attempts(*id)
    await duo.pass_time(2)
    await lease.renew()
    assert duo.records.attempts(*id) == before
    assert lost == []

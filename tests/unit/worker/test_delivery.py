"""The order of the steps, and what is done when they are interrupted between any two."""

import asyncio
from dataclasses import replace

import pytest

from schemas.errors import AudioUnreadable, EngineCrashed, EventInvalid, StoreUnavailable
from schemas.events import event_id
from schemas.operations import DIARIZE
from schemas.results import DiarizationCompleted, RunFailed
from schemas.topics import DEAD_LETTER_LIMIT, HEADERS_LIMIT
from tests.support.delivering import IN_ORDER, LAYOUT, Bench, Killed
from tests.support.worker import record_of
from turnstream import dead_letters
from turnstream.bus.base import Position, Record
from turnstream.records import CANCELLED
from turnstream.settings import BrokerKind

FAILED = ["store ended.json", "store error.json", "remove jobs"]


async def test_a_result_is_stored_told_unmarked_acknowledged():
    bench = Bench()
    await bench.end(bench.result())
    assert bench.steps == IN_ORDER
    (event,) = bench.events()
    assert (event.id, event.type) == (event_id(*bench.id), DIARIZE.completed)
    assert event.traceparent == bench.event.traceparent
    completed = event.read(DIARIZE.completed, DiarizationCompleted)
    assert completed.result == bench.result()
    assert bench.store.get(completed.object.key) == bench.records.ending(*bench.id).body


@pytest.mark.parametrize(
    ("killed_before", "again"),
    [
        (0, IN_ORDER),
        (1, IN_ORDER[1:]),  # a result without a claim is claimed
        (2, IN_ORDER[2:]),
        # Nobody can know whether the event of a mark that is still there is out: it is sent again, under the same id.
        (3, IN_ORDER[2:]),
        (4, IN_ORDER[4:]),
        (5, IN_ORDER[4:]),
    ],
)
async def test_killed_between_two_steps_a_redelivery_does_the_missing_ones(killed_before: int, again: list[str]):
    bench = Bench()
    bench.steps.kill_before = killed_before
    if killed_before < len(IN_ORDER):
        with pytest.raises(Killed):
            await bench.end(bench.result())
    else:
        await bench.end(bench.result())
    assert bench.steps == IN_ORDER[:killed_before]
    bench.steps.kill_before = None
    bench.steps.clear()
    await bench.end(None if killed_before else bench.result())
    assert bench.steps == again
    assert {event.id for event in bench.events()} == {event_id(*bench.id)}
    assert bench.records.mark(*bench.id) is None


async def test_a_run_that_was_computed_twice_keeps_its_first_end():
    bench = Bench()
    await bench.end(bench.result(segments=1))
    bench.steps.clear()
    await bench.end(bench.result(segments=2))
    assert bench.steps == ["ack"]
    assert b'"end":2.0' not in bench.records.ending(*bench.id).body


@pytest.mark.parametrize("failures", [1, 3])
@pytest.mark.parametrize("step", range(4))
async def test_a_store_or_broker_that_is_away_delays_and_repeats_nothing(step: int, failures: int):
    bench = Bench()
    take = bench.steps.take

    def fail_at_step(name: str, failure: type[Exception]) -> None:
        if name == IN_ORDER[step] and not hasattr(bench.steps, "failed"):
            bench.steps.failed, bench.steps.failures = True, failures
        take(name, failure)

    bench.steps.take = fail_at_step
    await bench.end(bench.result())
    assert bench.steps == IN_ORDER
    assert len(bench.events()) == 1


async def test_a_failure_is_told_with_its_code():
    bench = Bench()
    error = AudioUnreadable("no").info
    await bench.end(error)
    assert bench.steps == [*FAILED, *IN_ORDER[2:]]
    failed = bench.events()[0].read(DIARIZE.failed, RunFailed)
    assert failed.error == error


async def test_a_cancelled_run_ends_as_cancelled():
    bench = Bench()
    await bench.end(CANCELLED)
    assert bench.steps == ["store ended.json", "store cancelled.json", "remove jobs", *IN_ORDER[2:]]
    assert bench.events()[0].read(DIARIZE.failed, RunFailed).error.code == "job_cancelled"


async def test_a_cancel_that_the_api_stored_keeps_the_result_out():
    bench = Bench()
    bench.records.put_cancelled(*bench.id)
    bench.steps.clear()
    await bench.end(bench.result())
    assert bench.steps[0].startswith("store gpu-jobs-"), "a witness, as the API told nobody"
    assert bench.steps[1:] == IN_ORDER[2:]
    assert bench.events()[0].type == DIARIZE.failed


async def test_a_failure_whose_claimant_died_is_made_whole():
    bench = Bench()
    error = AudioUnreadable("no").info
    bench.steps.kill_before = 1
    with pytest.raises(Killed):
        await bench.end(error)
    bench.steps.kill_before = None
    bench.steps.clear()
    await bench.end(bench.result())
    assert bench.steps == ["store error.json", *IN_ORDER[2:]]
    assert bench.records.ending(*bench.id).error == error


async def test_a_job_that_takes_the_engine_down_is_also_set_aside():
    bench = Bench()
    await bench.end(EngineCrashed().info)
    assert bench.steps == [*FAILED, "publish gpu-jobs.dlq", *IN_ORDER[2:]]
    (record,) = bench.bus.records("gpu-jobs.dlq")
    assert record.value == bench.event.data
    assert dict(record.headers)["error"] == b"engine_crashed"


async def test_killed_before_it_is_set_aside_it_is_set_aside_later():
    bench = Bench()
    bench.steps.kill_before = 3
    with pytest.raises(Killed):
        await bench.end(EngineCrashed().info)
    bench.steps.kill_before = None
    bench.steps.clear()
    await bench.end(None)
    assert bench.steps == ["publish gpu-jobs.dlq", *IN_ORDER[2:]]


async def test_of_an_erased_job_nothing_stays_and_nothing_is_told():
    bench = Bench()
    bench.records.erase(bench.job.id)
    bench.steps.clear()
    await bench.end(bench.result())
    assert bench.steps[-1] == "ack"
    assert bench.events() == []
    assert list(bench.store.list("jobs/")) == []


async def test_of_an_erased_job_nothing_stays_though_a_worker_died_after_it_stored_its_end():
    bench = Bench()
    bench.records.erase(bench.job.id)
    bench.steps.clear()
    bench.steps.kill_before = 2
    with pytest.raises(Killed):
        await bench.end(bench.result())
    assert bench.steps == IN_ORDER[:2]
    bench.steps.kill_before = None
    await bench.end(None)
    assert bench.events() == []
    assert list(bench.store.list("jobs/")) == []


async def test_of_a_job_erased_while_its_result_was_stored_nothing_stays():
    bench = Bench()
    put_result = bench.records.put_result

    def erase_then_put(*args) -> None:
        bench.records.erase(bench.job.id)
        put_result(*args)

    bench.records.put_result = erase_then_put
    await bench.end(bench.result())
    assert list(bench.store.list("jobs/")) == []
    assert bench.events() == []
    assert bench.steps[-1] == "ack"


async def test_of_a_job_erased_while_a_witness_was_named_nothing_stays():
    bench = Bench()
    bench.records.put_cancelled(*bench.id)
    add_witness = bench.records.add_witness

    def erase_then_add(*args) -> None:
        bench.records.erase(bench.job.id)
        add_witness(*args)

    bench.records.add_witness = erase_then_add
    await bench.end(None)
    assert list(bench.store.list("jobs/")) == []


@pytest.mark.parametrize(("broker", "inline"), [(BrokerKind.EMBEDDED, False), (BrokerKind.KAFKA, True)])
async def test_a_large_result_travels_by_reference(broker: BrokerKind, inline: bool):
    bench = Bench(broker)
    await bench.end(bench.result(segments=300))  # some 33 KB
    completed = bench.events()[0].read(DIARIZE.completed, DiarizationCompleted)
    assert (completed.result is not None) is inline
    assert completed.object.size == len(bench.store.get(completed.object.key))


async def test_a_stored_result_that_does_not_read_back_is_told_by_reference():
    bench = Bench()
    bench.store.put(f"jobs/{bench.job.id}/runs/live/result.json", b'{"segments": null}')
    await bench.end(None)
    completed = bench.events()[0].read(DIARIZE.completed, DiarizationCompleted)
    assert completed.result is None
    assert completed.object.size == len(b'{"segments": null}')


async def test_a_record_that_cannot_be_read_is_set_aside_as_it_came():
    bench = Bench()
    await bench.bus.ensure_topics(LAYOUT.topics())
    bad = Record(Position("gpu-jobs", 3, 7), b"k", b"\xff{", (("mine", b"1"), ("error", b"of another life")))
    await bench.delivery.refuse(bad, EventInvalid().info, bench.receipt(bad))
    huge = Record(Position("gpu-jobs", 3, 8), None, bytes(DEAD_LETTER_LIMIT + 1))
    await bench.delivery.refuse(huge, EventInvalid().info, bench.receipt(huge))
    first, second = bench.bus.records("gpu-jobs.dlq")
    assert (first.key, first.value) == (b"k", b"\xff{")
    headers = dict(first.headers)
    assert {name: headers[name] for name in ("mine", "error", "attempt", "src")} == {
        "mine": b"1",
        "error": b"event_invalid",
        "attempt": b"1",
        "src": b"gpu-jobs/3/7",
    }
    assert dead_letters.original(bench.records, dead_letters.read(second)) == huge.value
    assert bench.steps.count("ack") == 2


async def test_what_is_around_a_value_and_too_large_for_the_topic_is_left_out():
    """Compressed it came through: sent again and again it would hold up whatever is told with it."""
    bench = Bench()
    await bench.bus.ensure_topics(LAYOUT.topics())
    event = record_of(bench.event)
    fat = replace(event, key=bytes(HEADERS_LIMIT + 1), headers=(("fat", bytes(HEADERS_LIMIT)), *event.headers))
    await bench.delivery.refuse(fat, EventInvalid().info, bench.receipt(fat))
    (letter,) = bench.bus.records("gpu-jobs.dlq")
    assert letter.key is None
    assert dead_letters.read(letter).id == (bench.job.id, "live")
    assert "fat" not in dict(letter.headers)


async def test_an_event_with_bad_data_of_a_pending_run_is_set_aside_and_ends_the_run():
    bench = Bench()
    await bench.bus.ensure_topics(LAYOUT.topics())
    bad = replace(record_of(bench.event), value=b"{}")
    await bench.delivery.refuse(bad, EventInvalid("no").info, bench.receipt(bad))
    assert bench.steps == [
        *FAILED,
        *("publish gpu-jobs.dlq", "publish diarization-results", "remove pending", "ack"),
    ]
    assert bench.events()[0].read(DIARIZE.failed, RunFailed).error.code == "event_invalid"


async def test_a_retry_moves_the_mark_before_the_record_is_acknowledged():
    bench = Bench()
    await bench.bus.ensure_topics(LAYOUT.topics())
    held = bench.held()
    assert await bench.delivery.retry(held, StoreUnavailable().info, tier=1, attempt=2, not_before=12.5)
    assert bench.steps == ["publish gpu-jobs.retry", f"store {bench.id[1]}", "ack"]
    (record,) = bench.bus.records("gpu-jobs.retry")
    assert (record.key, record.value) == (bench.event.key, bench.event.data)
    said = {"attempt": b"2", "not_before": b"12.500", "error": b"store_unavailable"}
    assert dict(record.headers) == dict(bench.event.headers) | said
    mark = bench.records.mark(*bench.id)
    assert (mark.topic, mark.partition, mark.offset, mark.attempt) == ("gpu-jobs.retry", 1, 0, 2)
    assert mark.topic_id == await bench.bus.topic_id("gpu-jobs.retry")

    bench.steps.clear()
    assert await bench.delivery.forward(record, bench.receipt(record), partition=4)
    assert bench.steps == ["publish gpu-jobs", f"store {bench.id[1]}", "ack"]
    (back,) = bench.bus.records("gpu-jobs")
    assert (back.position.partition, back.key, back.value) == (4, bench.event.key, bench.event.data)
    assert dict(back.headers) == dict(bench.event.headers) | {"attempt": b"2", "error": b"store_unavailable"}
    mark = bench.records.mark(*bench.id)
    assert (mark.topic, mark.partition, mark.offset, mark.attempt) == ("gpu-jobs", 4, 0, 2)


async def test_a_storm_of_retries_asks_the_broker_once_for_each_topic(monkeypatch: pytest.MonkeyPatch):
    bench = Bench()
    await bench.bus.ensure_topics(LAYOUT.topics())
    topic_id, asked = bench.bus.topic_id, []

    async def counted(topic: str) -> str | None:
        asked.append(topic)
        return await topic_id(topic)

    monkeypatch.setattr(bench.bus, "topic_id", counted)
    delivery, record = bench.delivery, bench.held().record
    await asyncio.gather(*(delivery.forward(record, bench.receipt(record), partition=0) for _ in range(50)))
    assert asked == ["gpu-jobs"]
    assert len(bench.bus.records("gpu-jobs")) == 50


async def test_a_retry_of_an_erased_job_leaves_no_mark():
    bench = Bench()
    await bench.bus.ensure_topics(LAYOUT.topics())
    held = bench.held()
    bench.records.erase(bench.job.id)
    assert await bench.delivery.retry(held, StoreUnavailable().info, tier=0, attempt=1, not_before=0)
    assert not bench.records.is_pending(*bench.id)


async def test_copies_that_come_while_an_end_is_told_are_settled_with_it():
    bench = Bench()
    await bench.bus.ensure_topics(LAYOUT.topics())
    held = bench.held()
    remove_mark = bench.records.remove_mark

    def copy_then_remove(*id: str) -> None:
        held.receipts.append(bench.receipt(replace(held.record, position=Position("gpu-jobs", 0, 6))))
        remove_mark(*id)

    bench.records.remove_mark = copy_then_remove
    await bench.delivery.end(held, bench.result())
    assert bench.steps == [*IN_ORDER, "ack"]
    assert held.receipts == []
    assert len(bench.events()) == 1

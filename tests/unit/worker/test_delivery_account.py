"""Deliveries over an outbox that keeps account of what is settled: what was told before is known, whatever its answer was."""

from dataclasses import replace

import pytest

from processor.at_least_once import AtLeastOnce
from processor.delivery import Delivery
from processor.held import Held
from processor.metrics import Metrics
from schemas.errors import EventInvalid, StoreUnavailable
from schemas.jobs import JobState
from tests.support.delivering import IN_ORDER, LAYOUT, Bench, Killed
from turnstream.bus.base import Position
from turnstream.bus.memory import MemoryBus
from turnstream.operations import installed

LATER = Position("gpu-jobs", 0, 9)


class Ledger(AtLeastOnce):
    """An outbox that keeps account of what is settled, as the transactional one does."""

    def __init__(self, bus: MemoryBus) -> None:
        super().__init__(bus)
        self.finished: set[Position] = set()
        self.ours = True

    async def settled(self, position: Position) -> bool:
        return position in self.finished

    async def send(self, messages, receipts, placed=None) -> bool:
        if not self.ours or all(receipt.position in self.finished for receipt in receipts):
            return False
        self.finished |= {receipt.position for receipt in receipts}
        return await super().send(messages, receipts, placed)


class Accounted(Bench):
    """With an outbox that keeps account."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(self.bus)

    @property
    def delivery(self) -> Delivery:
        return Delivery(self.records, self.bus, self.ledger, LAYOUT, installed(), self.broker, Metrics())

    def mark_at(self, position: Position, attempt: int = 0) -> None:
        mark = self.records.mark(*self.id)
        place = {"topic": position.topic, "partition": position.partition, "offset": position.offset}
        at = place | {"attempt": attempt}
        self.records.put_mark(*self.id, mark.model_copy(update=at))
        self.steps.clear()


async def test_an_end_whose_records_went_elsewhere_is_stored_but_not_told():
    bench = Accounted()
    bench.ledger.ours = False
    assert await bench.end(bench.result()) is None
    assert bench.steps == IN_ORDER[:2]
    assert bench.records.is_pending(*bench.id)
    bench.ledger.ours = True
    bench.steps.clear()
    assert await bench.end(None) is JobState.SUCCEEDED
    assert bench.steps == IN_ORDER[2:]


async def test_killed_between_event_and_mark_the_event_is_not_told_again():
    bench = Accounted()
    at = bench.held().record.position
    bench.mark_at(at)
    bench.steps.kill_before = 3
    with pytest.raises(Killed):
        await bench.end(bench.result())
    assert bench.steps == IN_ORDER[:3]
    bench.steps.kill_before = None
    bench.steps.clear()
    assert await bench.delivery.settled(bench.held())
    assert bench.steps == IN_ORDER[3:]
    assert len(bench.events()) == 1
    assert not bench.records.is_pending(*bench.id)


async def test_killed_before_the_mark_is_removed_a_copy_that_it_names_tells_nothing_again():
    bench = Accounted()
    bench.mark_at(LATER)
    bench.steps.kill_before = 3
    with pytest.raises(Killed):
        await bench.end(bench.result())
    bench.steps.kill_before = None
    bench.steps.clear()
    both = bench.held()
    both.receipts.append(bench.receipt(replace(both.record, position=LATER)))
    assert not await bench.delivery.settled(both)
    await bench.delivery.end(both, None)
    assert bench.steps == [*IN_ORDER[3:], "ack"]
    assert len(bench.events()) == 1
    assert not bench.records.is_pending(*bench.id)


def copy_of(bench: Accounted, retries: int = 0) -> Held:
    """The job event again, in another place."""
    held = bench.held()
    held.record = replace(held.record, position=LATER)
    held.receipts = [bench.receipt(held.record)]
    held.retries = retries
    return held


@pytest.mark.parametrize("retries", [0, 1])
async def test_killed_before_the_mark_is_removed_a_copy_that_was_published_meanwhile_tells_nothing_again(retries: int):
    """By a caller who sent it again, or by the sweep and by a forward that was repeated."""
    bench = Accounted()
    await bench.bus.ensure_topics(LAYOUT.topics())
    first = bench.held()
    first.retries = retries
    bench.steps.clear()
    bench.steps.kill_before = 3
    with pytest.raises(Killed):
        await bench.delivery.end(first, bench.result())
    bench.steps.kill_before = None
    bench.mark_at(LATER, retries)
    copy = copy_of(bench, retries)
    assert not await bench.delivery.settled(copy)
    await bench.delivery.end(copy, None)
    assert len(bench.events()) == 1
    assert not bench.records.is_pending(*bench.id)


async def test_who_tells_an_end_that_another_stored_names_a_witness_first():
    bench = Accounted()
    await bench.bus.ensure_topics(LAYOUT.topics())
    bench.records.put_cancelled(*bench.id)
    bench.steps.clear()
    bench.steps.kill_before = 2
    with pytest.raises(Killed):
        await bench.end(None)
    assert [step.split()[0] for step in bench.steps] == ["store", "publish"]
    bench.steps.kill_before = None
    bench.mark_at(LATER)
    await bench.delivery.end(copy_of(bench), None)
    assert len(bench.events()) == 1
    assert not bench.records.is_pending(*bench.id)


async def test_a_witness_that_a_retry_may_have_settled_is_not_believed():
    """Of a worker that was stopped for long: it stored the end of a run that had been put off by another."""
    bench = Accounted()
    bench.ledger.ours = False
    assert await bench.end(bench.result()) is None
    bench.ledger.ours = True
    bench.ledger.finished.add(bench.held().record.position)
    bench.mark_at(LATER, attempt=1)
    await bench.delivery.end(copy_of(bench, retries=1), None)
    assert len(bench.events()) == 1
    assert not bench.records.is_pending(*bench.id)


async def test_a_copy_that_a_retry_has_settled_says_nothing_of_the_end():
    bench = Accounted()
    await bench.bus.ensure_topics(LAYOUT.topics())
    bench.mark_at(LATER, attempt=1)
    bench.records.put_cancelled(*bench.id)
    both = bench.held()
    bench.ledger.finished.add(both.record.position)
    both.receipts.append(bench.receipt(replace(both.record, position=LATER)))
    await bench.delivery.end(both, None)
    assert len(bench.events()) == 1
    assert not bench.records.is_pending(*bench.id)


async def test_a_record_that_was_settled_by_a_retry_leaves_the_mark_to_that():
    bench = Accounted()
    bench.mark_at(Position("gpu-jobs.retry", 0, 3))
    held = bench.held()
    bench.ledger.finished.add(held.record.position)
    await bench.end(bench.result())  # it came again, and was computed before that was known
    assert bench.events() == []
    assert bench.records.mark(*bench.id).topic == "gpu-jobs.retry"
    assert bench.steps[-1] == "ack"


async def test_a_record_that_was_settled_while_the_answer_was_lost_is_done_with():
    bench = Accounted()
    await bench.bus.ensure_topics(LAYOUT.topics())
    retried, forwarded, refused = bench.held(), bench.held().record, bench.held().record
    bench.ledger.finished.add(retried.record.position)
    bench.steps.clear()
    assert not await bench.delivery.retry(retried, StoreUnavailable().info, tier=0, attempt=1, not_before=0)
    assert await bench.delivery.forward(forwarded, bench.receipt(forwarded), partition=0)
    assert bench.steps == ["ack", "ack"]
    bench.records.remove_mark(*bench.id)
    bench.steps.clear()
    await bench.delivery.refuse(refused, EventInvalid().info, bench.receipt(refused))
    assert bench.steps == ["ack"]
    assert retried.receipts == []


async def test_a_record_that_went_elsewhere_is_left_to_whoever_has_it():
    bench = Accounted()
    await bench.bus.ensure_topics(LAYOUT.topics())
    bench.ledger.ours = False
    held = bench.held()
    bench.steps.clear()
    assert not await bench.delivery.retry(held, StoreUnavailable().info, tier=0, attempt=1, not_before=0)
    assert not await bench.delivery.forward(held.record, bench.receipt(held.record), partition=0)
    assert bench.steps == []
    assert len(held.receipts) == 1

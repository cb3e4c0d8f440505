"""What a ledger takes into which transaction; what transactions do is tried on a broker (tests/contract/test_outbox.py)."""

import asyncio
from collections.abc import Sequence

import pytest

from processor import ledger, persistence
from processor.finished import SPAN, Finished
from processor.ledger import Ledger
from processor.outbox import Placed
from processor.receipts import Receipts
from processor.transactions import Told
from tests.support.worker import FreeFlow
from turnstream.bus.base import Position


class Book:
    """Transactions that succeed, but for those in which a mark hangs."""

    finished = Finished()
    hanging: Placed | None = None

    async def open(self) -> Finished:
        return self.finished

    async def commit(self, told: Sequence[Told], finished: Finished) -> None:
        assert told
        assert finished.fits
        if self.hanging is not None and self.hanging in [each.placed for each in told]:
            raise TimeoutError
        self.finished = finished

    async def close(self) -> None: ...


async def there() -> bool:
    return True


async def test_nothing_is_committed_to_a_topic_that_was_made_anew():
    async def gone() -> bool:
        return False

    book, receipts = Book(), Receipts(FreeFlow(), 1 << 20)
    receipt = receipts.take(Position("gpu-jobs", 0, 49), lambda: None)
    told = Ledger("gpu-jobs/0", lambda: book, heartbeat=0.2, still_there=gone)
    async with asyncio.timeout(30):
        assert not await told.settle((), [receipt], None)
        assert not await told.settled(49)
        assert not await told.settle((), [receipt], None)
    assert book.finished == Finished()


async def test_those_without_room_do_not_keep_out_the_one_that_makes_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ledger, "GROUP", 2)
    book, receipts = Book(), Receipts(FreeFlow(), 1 << 20)
    offsets = (0, SPAN + 10, SPAN + 11, SPAN + 12)
    first, *far = (receipts.take(Position("gpu-jobs", 0, offset), lambda: None) for offset in offsets)
    told = Ledger("gpu-jobs/0", lambda: book, heartbeat=0.2, still_there=there)
    waiting = [asyncio.create_task(told.settle((), [receipt], None)) for receipt in far]
    assert not await told.settled(0)
    async with asyncio.timeout(30):
        assert await told.settle((), [first], None)
        assert await asyncio.gather(*waiting) == [True, True, True]
    assert book.finished == Finished(SPAN + 13)


async def test_a_mark_that_hangs_keeps_no_end_from_being_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(persistence, "LONGEST_DELAY", 0.01)

    async def hang(positions: Sequence[Position]) -> None: ...

    book, receipts = Book(), Receipts(FreeFlow(), 1 << 20)
    book.hanging = hang
    retried, *ended = (receipts.take(Position("gpu-jobs", 0, offset), lambda: None) for offset in range(5))
    told = Ledger("gpu-jobs/0", lambda: book, heartbeat=0.2, still_there=there)
    retrying = asyncio.create_task(told.settle((), [retried], hang))
    async with asyncio.timeout(30):
        assert await asyncio.gather(*(told.settle((), [each], None) for each in ended)) == [True] * 4
        assert not retrying.done()
        book.hanging = None
        assert await retrying
    assert book.finished == Finished(5)

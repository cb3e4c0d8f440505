"""What a ledger takes into which transaction; what transactions do is tried on a broker (tests/contract/test_outbox.py)."""

import asyncio
from collections.abc import Sequence

import pytest

from processor import ledger
from processor.finished import SPAN, Finished
from processor.ledger import Ledger
from processor.receipts import Receipts
from processor.transactions import Told
from tests.support.worker import FreeFlow
from turnstream.bus.base import Position


class Book:
    """Transactions that always succeed."""

    finished = Finished()

    async def open(self) -> Finished:
        return self.finished

    async def commit(self, told: Sequence[Told], finished: Finished) -> None:
        assert told
        assert finished.fits
        self.finished = finished

    async def close(self) -> None: ...


async def test_those_without_room_do_not_keep_out_the_one_that_makes_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ledger, "GROUP", 2)
    book, receipts = Book(), Receipts(FreeFlow(), 1 << 20)
    offsets = (0, SPAN + 10, SPAN + 11, SPAN + 12)
    first, *far = (receipts.take(Position("gpu-jobs", 0, offset), lambda: None) for offset in offsets)
    told = Ledger("gpu-jobs/0", lambda: book, heartbeat=0.2)
    waiting = [asyncio.create_task(told.settle((), [receipt], None)) for receipt in far]
    assert not await told.settled(0)
    async with asyncio.timeout(30):
        assert await told.settle((), [first], None)
        assert await asyncio.gather(*waiting) == [True, True, True]
    assert book.finished == Finished(SPAN + 13)

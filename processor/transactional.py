"""The outbox on Apache Kafka: what a record asked for is told, and the record settled, in one transaction. So it is told once,
whoever dies when, to all who read only what is committed.

docs/decisions/0014-exactly-one-event.md says why, and how a worker that was thought dead is kept from telling.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence

from processor.ledger import Ledger
from processor.outbox import Message, Outbox, Placed
from processor.receipts import Receipt
from processor.transactions import Place, Transactions
from turnstream.bus.base import Position

CLOSE_LIMIT = 1.0
"""Seconds that what is under way has to end when the worker stops."""
OVER_LIMIT = 60.0
"""Seconds that what is under way has to end when an assignment is over; it is not waited for."""


class Transactional(Outbox):
    """A ledger for each partition of which records come. Its producer stays until partitions move: 60 KB, two connections."""

    def __init__(
        self, bootstrap: str, group: str, heartbeat: float, still_there: Callable[[], Awaitable[bool]]
    ) -> None:
        """`still_there`: whether the topics are those that the worker began with."""
        self._still_there = still_there
        self._bootstrap = bootstrap
        self._group = group
        self._heartbeat = heartbeat
        self._ours: frozenset[tuple[str, int]] = frozenset()
        self._ledgers: dict[tuple[str, int], Ledger] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def settled(self, position: Position) -> bool:
        place = position.topic, position.partition
        # To look into the ledger of a partition is to claim it.
        return place in self._ours and await self._ledger(place).settled(position.offset)

    async def send(
        self, messages: Sequence[Message], receipts: Sequence[Receipt], placed: Placed | None = None
    ) -> bool:
        by_place: dict[tuple[str, int], list[Receipt]] = {}
        for receipt in receipts:
            if receipt.holds:
                by_place.setdefault((receipt.position.topic, receipt.position.partition), []).append(receipt)
        told = False
        for place, theirs in by_place.items():
            # Copies of a run in several partitions are rare: the first of them brings the messages along.
            ledger, what = self._ledger(place), ((), theirs, None) if told else (messages, theirs, placed)
            if await ledger.settle(*what):
                told = True
            elif not told and any(map(ledger.knows, theirs)):
                return False  # maybe by this very call, and the broker's answer was lost
        return told

    def assigned(self, places: Collection[tuple[str, int]]) -> None:
        self._ours = frozenset(places)
        for ledger in self._ledgers.values():
            closing = asyncio.create_task(ledger.close(OVER_LIMIT))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        self._ledgers.clear()

    async def close(self) -> None:
        for closing in self._closing:
            closing.cancel()
        await asyncio.gather(*(ledger.close(CLOSE_LIMIT) for ledger in self._ledgers.values()))
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _ledger(self, place: tuple[str, int]) -> Ledger:
        if place not in self._ledgers:
            topic, partition = place
            at = Place(self._bootstrap, self._group, topic, partition)
            self._ledgers[place] = Ledger(str(at), lambda: Transactions(at), self._heartbeat, self._still_there)
        return self._ledgers[place]

"""The port by which the worker tells what became of a record, and by which the record is settled: it need not come again."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from processor.receipts import Receipt
from schemas.events import Headers
from turnstream.bus.base import Position


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be published because of a record."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


Placed = Callable[[Sequence[Position]], Awaitable[None]]
"""Takes where messages lie, in their order."""


class Outbox(Protocol):
    """Used on one event loop. Waits for a broker that is away for as long as it takes."""

    async def settled(self, position: Position) -> bool:
        """Whether all that this record asked for was told for good. False where nobody keeps account of that, and for a record
        of a partition that is not ours.
        """
        ...

    async def send(
        self, messages: Sequence[Message], receipts: Sequence[Receipt], placed: Placed | None = None
    ) -> bool:
        """Returns True once the broker has the messages for good; where it can, the records of the receipts are settled in the
        same transaction. `placed` is awaited before a record is settled, and may be awaited again with other positions.

        False: the records are not ours any more, so nothing is told here: they come again, here or elsewhere, or they were
        settled before.
        The receipts are still to be called by whoever sent.
        """
        ...

    def assigned(self, places: Collection[tuple[str, int]]) -> None:
        """Another assignment has begun, to these partitions (topic, number): nothing known about the one before holds."""
        ...

    async def close(self) -> None: ...

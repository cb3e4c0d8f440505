"""The outbox on a broker without transactions: what is told may be told again by whoever gets the record next, if we die
before it is settled. Events have ids that stay the same, so that a subscriber can drop the repetition.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence

from processor.outbox import Message, Outbox, Placed
from processor.persistence import persistently
from processor.receipts import Receipt
from turnstream.bus.base import Bus, Position


class AtLeastOnce(Outbox):
    """Over any bus. The receipts' records are settled by calling them, which whoever sends does afterwards."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def settled(self, position: Position) -> bool:
        del position
        return False

    async def send(
        self, messages: Sequence[Message], receipts: Sequence[Receipt], placed: Placed | None = None
    ) -> bool:
        del receipts
        positions = [
            await persistently(f"publish to {message.topic}", self._publishing(message)) for message in messages
        ]
        if placed is not None:
            await placed(positions)
        return True

    def assigned(self, places: Collection[tuple[str, int]]) -> None: ...

    async def close(self) -> None: ...

    def _publishing(self, message: Message) -> Callable[[], Awaitable[Position]]:
        return lambda: self._bus.publish(
            message.topic,
            key=message.key,
            value=message.value,
            headers=message.headers,
            partition=message.partition,
        )

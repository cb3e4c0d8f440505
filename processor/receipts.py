"""Which records are held, and how many a partition may have here before it is paused."""

from collections.abc import Callable, Collection, Container
from dataclasses import dataclass
from typing import Protocol

from processor.acks import Acks
from processor.finished import SPAN
from turnstream.bus.base import Position

Ack = Callable[[], None]
SPAN_HIGH_WATER = SPAN * 7 // 8
"""Offsets between the first open record of a partition and the last: beyond it is paused. What was fetched before that, and
markers of transactions, still find room among the finished offsets that a commit can name."""


class Flow(Protocol):
    """How a partition is told to hold on. What was fetched before that still arrives."""

    def pause(self, topic: str, partition: int) -> None: ...

    def resume(self, topic: str, partition: int) -> None: ...

    def behind(self) -> Collection[int]:
        """Our partitions of `gpu-jobs` of which the broker has more records than have arrived here."""
        ...

    def lag(self) -> int:
        """Records of our partitions that the broker has and that were not fetched yet; a transaction's marker is none."""
        ...


class _Partition:
    def __init__(self) -> None:
        self.acks = Acks()
        self.handles: dict[int, Ack] = {}
        self.paused = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """Says, once called, that a record is done with; acknowledges it as soon as those before it are."""

    position: Position
    partition: _Partition
    receipts: "Receipts"

    def __call__(self) -> None:
        self.receipts.done(self)

    @property
    def holds(self) -> bool:
        """Whether the assignment under which the record came is still in force, as far as is known here."""
        return self.receipts.knows(self)

    def frontier(self, also: Container[int]) -> int:
        """The offset of its partition to commit if those in `also` were done, too."""
        return self.partition.acks.frontier(also)


class Receipts:
    """One for each assignment of partitions. A receipt of an assignment that is over does nothing any more."""

    def __init__(self, flow: Flow, high_water: int) -> None:
        """`high_water`: records of one partition that are held before it is paused; it goes on at half of that."""
        self._flow = flow
        self._high_water = high_water
        self._partitions: dict[tuple[str, int], _Partition] = {}

    def take(self, position: Position, ack: Ack) -> Receipt:
        place = position.topic, position.partition
        partition = self._partitions.setdefault(place, _Partition())
        partition.acks.track(position.offset)
        partition.handles[position.offset] = ack
        full = len(partition.acks) >= self._high_water or partition.acks.span >= SPAN_HIGH_WATER
        if full and not partition.paused:
            partition.paused = True
            self._flow.pause(*place)
        return Receipt(position, partition, self)

    def knows(self, receipt: Receipt) -> bool:
        return self._partitions.get((receipt.position.topic, receipt.position.partition)) is receipt.partition

    def done(self, receipt: Receipt) -> None:
        if not self.knows(receipt):
            return
        partition, position = receipt.partition, receipt.position
        for offset in partition.acks.done(position.offset):
            partition.handles.pop(offset)()
        low = len(partition.acks) <= self._high_water // 2 and partition.acks.span <= SPAN_HIGH_WATER // 2
        if partition.paused and low:
            partition.paused = False
            self._flow.resume(position.topic, position.partition)

    def reset(self) -> None:
        """The assignment is over: what is not acknowledged comes again, here or elsewhere."""
        self._partitions.clear()

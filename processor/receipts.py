"""Which records are held, and how many a partition may have here before it is paused."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from processor.acks import Acks
from turnstream.bus.base import Position

Ack = Callable[[], None]


class Flow(Protocol):
    """How a partition is told to hold on. What was fetched before that still arrives."""

    def pause(self, partition: int) -> None: ...

    def resume(self, partition: int) -> None: ...

    def behind(self) -> Collection[int]:
        """Our partitions of which the broker has more records than have arrived here."""
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
    _partition: _Partition
    _receipts: "Receipts"

    def __call__(self) -> None:
        self._receipts.done(self._partition, self.position)


class Receipts:
    """One for each assignment of partitions. A receipt of an assignment that is over does nothing any more."""

    def __init__(self, flow: Flow, high_water: int) -> None:
        """`high_water`: records of one partition that are held before it is paused; it goes on at half of that."""
        self._flow = flow
        self._high_water = high_water
        self._partitions: dict[int, _Partition] = {}

    def take(self, position: Position, ack: Ack) -> Receipt:
        partition = self._partitions.setdefault(position.partition, _Partition())
        partition.acks.track(position.offset)
        partition.handles[position.offset] = ack
        if not partition.paused and len(partition.acks) >= self._high_water:
            partition.paused = True
            self._flow.pause(position.partition)
        return Receipt(position, partition, self)

    def done(self, partition: _Partition, position: Position) -> None:
        if self._partitions.get(position.partition) is not partition:
            return
        for offset in partition.acks.done(position.offset):
            partition.handles.pop(offset)()
        if partition.paused and len(partition.acks) <= self._high_water // 2:
            partition.paused = False
            self._flow.resume(position.partition)

    def reset(self) -> None:
        """The assignment is over: what is not acknowledged comes again, here or elsewhere."""
        self._partitions.clear()

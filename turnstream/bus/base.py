"""The port to a message broker: publish with the broker's word for it, read a topic without a group, lay topics out."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field

from schemas.errors import LayoutMismatch
from schemas.events import Headers
from schemas.topics import TopicSpec


@dataclass(frozen=True, slots=True)
class Position:
    """Where a record lies."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it was read. `timestamp` is the broker's or producer's, in seconds since 1970."""

    position: Position
    key: bytes | None
    value: bytes | None
    headers: Headers = field(default=())
    timestamp: float = 0.0


@dataclass(frozen=True, slots=True)
class Reach:
    """What the broker still has of one partition, and how far the workers' group came."""

    low: int
    """Offset of the oldest record kept."""
    committed: int | None
    """Next offset the group will read; None where it never committed."""


Reaches = Mapping[int, tuple[int, int]]
"""For each partition the first offset, and that after the last."""


class Bus(ABC):
    """Used on one event loop. Each call may raise BrokerUnavailable, after the adapter's timeout at the latest."""

    @abstractmethod
    async def start(self) -> None:
        """Connect, so that the first publish is as quick as the next. Does not wait for a broker that is away."""

    @abstractmethod
    async def close(self) -> None:
        """Flush what is under way, stop every reader, give back connections."""

    @abstractmethod
    async def publish(
        self, topic: str, *, key: bytes | None, value: bytes | None, headers: Headers = (), partition: int | None = None
    ) -> Position:
        """Returns once all in-sync replicas have the record. An unknown topic raises BrokerUnavailable."""

    @abstractmethod
    def read(self, topic: str, *, since: float | None = None) -> AsyncGenerator[Record, None]:
        """Every partition of a topic from its beginning, without a group, for ever.

        Records with a timestamp before `since` (seconds since 1970) are dropped. A broker that goes away is waited for; a
        topic that was made anew is read from its beginning again, so that what was heard of it before that was noticed comes
        twice. Close the iterator (`aclosing`) to stop.
        """

    @abstractmethod
    def snapshot(self, topic: str, reaches: Reaches | None = None) -> AsyncGenerator[Record, None]:
        """What a topic holds now: every partition from its beginning to its present end, without a group; where `reaches`
        are named, those partitions alone, from the first offset to the one before the second.

        Each partition's records come in their order; what is published meanwhile may be among them or not. Raises
        BrokerUnavailable where the topic does not exist, or the broker goes away before the end.
        """

    @abstractmethod
    async def ensure_topics(self, specs: Sequence[TopicSpec]) -> None:
        """Create the topics that are missing and verify all. Raises LayoutMismatch where partition counts differ."""

    @abstractmethod
    async def grow(self, topic: str, partitions: int) -> None:
        """Append partitions until the topic has so many; records stay where they are. One that has them already is left
        alone. What reads or consumes the topic meanwhile may learn of the new ones only when it is started again.

        Raises LayoutMismatch where the topic has more, and where this kind of broker cannot do it.
        """

    @abstractmethod
    async def topic_id(self, topic: str) -> str | None:
        """The incarnation of a topic: another one after it was made anew. None where it does not exist."""

    @abstractmethod
    async def offsets_at(self, topic: str, when: float) -> dict[int, int]:
        """For each partition the offset of the first record with that timestamp (seconds since 1970) or a later one; its end
        where there is none. Not on the embedded broker, which keeps no order of times. Raises BrokerUnavailable where the
        topic does not exist.
        """

    @abstractmethod
    async def begin_group(self, topic: str, group: str, offsets: Mapping[int, int]) -> None:
        """Have a group that nobody has joined yet begin there, in those partitions of which it has committed nothing. Where
        somebody joined meanwhile, that member has done it: BrokerUnavailable is raised, and the next call finds nothing to do.
        """

    @abstractmethod
    async def reach(self, topic: str, group: str) -> dict[int, Reach]:
        """For each partition of the topic. Raises BrokerUnavailable where the topic does not exist."""


def require_growth(topic: str, there: int, wanted: int) -> None:
    """Raises LayoutMismatch: no broker takes partitions away."""
    if there > wanted:
        raise LayoutMismatch(f"{topic} has {there} partitions, and they cannot become {wanted}")


def verify_partitions(specs: Sequence[TopicSpec], partitions: Mapping[str, int]) -> None:
    """Raises LayoutMismatch where a topic has more or fewer partitions than its spec says."""
    wrong = [
        f"{spec.name} has {partitions[spec.name]} partitions instead of {spec.partitions}"
        for spec in specs
        if partitions[spec.name] != spec.partitions
    ]
    if wrong:
        raise LayoutMismatch(
            f"{'; '.join(wrong)}: give this process the PARTITION_GROUPS that the topics were made with, "
            "or delete these topics while nothing runs (the jobs they hold are published again)"
        )

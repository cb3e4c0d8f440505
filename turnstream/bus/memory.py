"""The bus without a broker: for tests, and for a process that is its own world."""

import asyncio
import random
import time
import zlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from schemas.errors import BrokerUnavailable, EventInvalid
from schemas.events import Headers
from schemas.topics import TopicSpec
from turnstream.bus.base import Bus, Position, Reach, Reaches, Record, require_growth, verify_partitions


@dataclass
class _Topic:
    partitions: list[list[Record]]
    max_message_bytes: int
    id: str = field(default_factory=lambda: str(uuid4()))


class MemoryBus(Bus):
    """Keeps the promises of the port, and takes from a test the part that a broker and its workers play:
    `records`, `commit`, `break_down`, `mend`, `forget`.
    """

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}
        self._committed: dict[tuple[str, str, int], int] = {}
        self._away = False
        self._closed = False
        self._changed = asyncio.Event()

    async def start(self) -> None:
        self._closed = False

    async def close(self) -> None:
        self._closed = True
        self._wake()

    async def publish(
        self, topic: str, *, key: bytes | None, value: bytes | None, headers: Headers = (), partition: int | None = None
    ) -> Position:
        await self._reached()
        found = self._found(topic)
        size = len(key or b"") + len(value or b"")
        if size > found.max_message_bytes:
            raise EventInvalid(f"publishing to {topic}: a record of {size} bytes is too large")
        index = _partition(key, len(found.partitions)) if partition is None else partition
        if not 0 <= index < len(found.partitions):
            raise BrokerUnavailable(f"publishing to {topic}: it has no partition {index}")
        log = found.partitions[index]
        position = Position(topic, index, len(log))
        log.append(Record(position, key, value, headers, timestamp=time.time_ns() // 1_000_000 / 1000))
        self._wake()
        return position

    async def read(self, topic: str, *, since: float | None = None) -> AsyncGenerator[Record, None]:
        incarnation, offsets = None, dict[int, int]()
        since_ms = int((since or 0) * 1000)  # as coarse as the timestamps it is compared with
        while not self._closed:
            changed = self._changed
            found = None if self._away else self._topics.get(topic)
            if found is not None and found.id != incarnation:
                incarnation, offsets = found.id, dict.fromkeys(range(len(found.partitions)), 0)
            fresh = [record for p, at in offsets.items() for record in found.partitions[p][at:]] if found else []
            if not fresh:
                await changed.wait()
            for record in fresh:
                offsets[record.position.partition] += 1
                if round(record.timestamp * 1000) >= since_ms:
                    yield record

    async def snapshot(self, topic: str, reaches: Reaches | None = None) -> AsyncGenerator[Record, None]:
        await self._reached()
        logs = dict(enumerate(self._found(topic).partitions))
        chosen = {number: (0, len(log)) for number, log in logs.items()} if reaches is None else reaches
        for record in [record for number, (first, end) in chosen.items() for record in logs[number][first:end]]:
            yield record

    async def ensure_topics(self, specs: Sequence[TopicSpec]) -> None:
        await self._reached()
        for spec in specs:
            if spec.name not in self._topics:
                self._topics[spec.name] = _Topic([[] for _ in range(spec.partitions)], spec.max_message_bytes)
        self._wake()
        verify_partitions(specs, {name: len(topic.partitions) for name, topic in self._topics.items()})

    async def grow(self, topic: str, partitions: int) -> None:
        await self._reached()
        found = self._found(topic)
        require_growth(topic, len(found.partitions), partitions)
        found.partitions += [[] for _ in range(partitions - len(found.partitions))]

    async def topic_id(self, topic: str) -> str | None:
        await self._reached()
        return self._topics[topic].id if topic in self._topics else None

    async def offsets_at(self, topic: str, when: float) -> dict[int, int]:
        await self._reached()
        logs = enumerate(self._found(topic).partitions)
        return {
            number: next((record.position.offset for record in log if record.timestamp >= when), len(log))
            for number, log in logs
        }

    async def begin_group(self, topic: str, group: str, offsets: Mapping[int, int]) -> None:
        await self._reached()
        for number, offset in offsets.items():
            self._committed.setdefault((group, topic, number), offset)

    async def reach(self, topic: str, group: str) -> dict[int, Reach]:
        await self._reached()
        return {
            partition: Reach(low=0, committed=self._committed.get((group, topic, partition)))
            for partition in range(len(self._found(topic).partitions))
        }

    def records(self, topic: str) -> list[Record]:
        """All that lies on a topic now, partition after partition; nothing if there is no such topic."""
        found = self._topics.get(topic)
        return [record for log in found.partitions for record in log] if found else []

    def commit(self, group: str, topic: str, partition: int, offset: int) -> None:
        """What a worker of the group does once it has dealt with everything before `offset`."""
        self._committed[group, topic, partition] = offset

    def break_down(self) -> None:
        """The broker goes away: every call raises BrokerUnavailable and readers hear nothing."""
        self._away = True

    def mend(self) -> None:
        """The broker is back, with all it had."""
        self._away = False
        self._wake()

    def forget(self) -> None:
        """The broker comes back empty: no topic, no committed offset. Topics made again have other ids."""
        self._topics.clear()
        self._committed.clear()

    async def _reached(self) -> None:
        await asyncio.sleep(0)  # a real broker's answer lets other tasks run, too
        if self._away or self._closed:
            raise BrokerUnavailable("the bus is closed" if self._closed else "")

    def _found(self, topic: str) -> _Topic:
        if topic not in self._topics:
            raise BrokerUnavailable(f"the broker has no topic {topic}")
        return self._topics[topic]

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _partition(key: bytes | None, partitions: int) -> int:
    # As librdkafka's default does it: records of a key stay together, those without spread.
    return zlib.crc32(key) % partitions if key else random.randrange(partitions)  # noqa: S311

"""What is seen from outside while a run lasts: the events that are told, the marks that are left; and what others do to the
topics: records that no program of ours wrote, job events that come twice.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass

from schemas.errors import BrokerUnavailable, EventInvalid, StoreUnavailable
from schemas.events import JOB_REQUESTED, Event
from schemas.jobs import DiarizeParams
from schemas.topics import Topic
from tests.chaos.stacks import Field
from turnstream import bus as buses
from turnstream.bus.base import Bus, Record
from turnstream.operations import installed, result_topics

TWICE = 0.03
"""Part of the job events that is published again as it came."""
LOOK = 0.5
"""Seconds between two counts of the marks."""
PATIENCE = 45.0
"""Seconds the broker has to answer us: what it does to others in less is looked at elsewhere."""


@dataclass(frozen=True, slots=True)
class Told:
    """An event on a result topic, or a record that was set aside."""

    topic: str
    key: str
    id: str
    """Of the event; empty where it has none."""
    type: str
    error: str
    """The code in a dead letter's headers, or in a failed event."""
    at: float


def told(record: Record, at: float) -> Told:
    headers = dict(record.headers)
    error = headers.get("error", b"").decode()
    try:
        event = Event.parse(record.headers, record.value)
    except EventInvalid:
        return Told(record.position.topic, _text(record.key), "", "", error, at)
    return Told(record.position.topic, _text(record.key), event.id, event.type, error, at)


def _text(key: bytes | None) -> str:
    return (key or b"").decode(errors="replace")


class Watch:
    """Everything that was on the result topics and among the dead letters at any time: the embedded broker forgets."""

    def __init__(self, field: Field, bus: Bus, seed: int) -> None:
        self.seen: list[Told] = []
        self.marks = 0
        self.again = 0
        """Job events that were published twice."""
        self._field, self._bus = field, bus
        self._draw = random.Random(seed)
        self.duplicating = True

    async def follow(self, topic: str) -> None:
        async with aclosing(self._bus.read(topic)) as records:
            async for record in records:
                self.seen.append(told(record, time.time()))

    async def duplicate(self) -> None:
        """Publish some job events once more, to where they were: any client may, and the sweep does."""
        copies: Counter[tuple[bytes | None, bytes | None]] = Counter()
        async with aclosing(self._bus.read(Topic.JOBS)) as records:
            async for record in records:
                what = record.key, record.value
                copies[what] += 1
                if self.duplicating and copies[what] == 1 and self._draw.random() < TWICE:
                    with suppress(BrokerUnavailable):
                        await publish_again(self._bus, record)
                        self.again += 1

    async def count_marks(self) -> None:
        store = await asyncio.to_thread(self._field.store)
        try:
            while True:
                with suppress(StoreUnavailable):
                    self.marks = await asyncio.to_thread(lambda: sum(1 for _ in store.list("pending/")))
                await asyncio.sleep(LOOK)
        finally:
            store.close()


async def publish_again(bus: Bus, record: Record) -> None:
    where = record.position
    await bus.publish(
        where.topic, key=record.key, value=record.value, headers=record.headers, partition=where.partition
    )


@asynccontextmanager
async def watching(field: Field, bus: Bus, seed: int) -> AsyncIterator[Watch]:
    watch = Watch(field, bus, seed)
    work = [watch.follow(topic) for topic in (*result_topics(installed()), Topic.JOBS_DLQ)]
    tasks = [asyncio.create_task(each) for each in (*work, watch.duplicate(), watch.count_marks())]
    try:
        yield watch
        for task in tasks:
            if task.done():
                task.result()  # what a task failed of
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def connected(field: Field) -> AsyncIterator[Bus]:
    bus = buses.connect(field.settings.model_copy(update={"publish_timeout": PATIENCE}))
    await bus.start()
    try:
        yield bus
    finally:
        await bus.close()


# Records that no program of ours wrote


@dataclass(frozen=True, slots=True)
class Intruder:
    key: str
    what: str
    at: float


def _stranger(key: str) -> Event:
    """A CloudEvent of our type whose data is something else's."""
    event = Event.of(JOB_REQUESTED, "/nobody", key, f"{key}/live", DiarizeParams())
    return event.model_copy(update={"data": b'{"who": "knows"}'})


INTRUDERS: dict[str, Callable[[str], tuple[bytes | None, tuple[tuple[str, bytes], ...]]]] = {
    "bytes": lambda key: (b"\xff\xfe{", ()),
    "null": lambda key: (None, ()),
    "no event": lambda key: (b'{"id": "x"}', (("ce_id", b"\xff"),)),
    "another schema": lambda key: (_stranger(key).data, _stranger(key).headers),
    "another version": lambda key: (
        b"{}",
        _stranger(key).model_copy(update={"type": "turnstream.job.requested.v9"}).headers,
    ),
    "huge": lambda key: (b" " * (300 << 10), _stranger(key).headers),
}


async def intrude(bus: Bus, partitions: int, seed: int, pace: float, over: asyncio.Event) -> list[Intruder]:
    """Publish unreadable records, one every `pace` seconds or so, until `over`; returns those that the broker took."""
    draw, found, number = random.Random(seed), [], 0
    while not over.is_set():
        number += 1
        what = draw.choice(list(INTRUDERS))
        key = f"intruder-{number}"
        value, headers = INTRUDERS[what](key)
        with suppress(BrokerUnavailable):
            partition = draw.randrange(partitions)
            await bus.publish(Topic.JOBS, key=key.encode(), value=value, headers=headers, partition=partition)
            found.append(Intruder(key, what, time.time()))
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), draw.uniform(0, 2 * pace))
    return found

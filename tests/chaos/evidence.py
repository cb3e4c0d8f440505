"""What a run left behind, gathered for the oracle once load and faults are over."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from schemas.errors import BrokerUnavailable, StoreUnavailable
from schemas.topics import Topic
from tests.chaos.load import Promise
from tests.chaos.schedule import Act, Victim
from tests.chaos.stacks import Field, ready
from tests.chaos.watching import Intruder, Told, told
from turnstream.bus.base import Bus
from turnstream.object_store.base import ObjectStore
from turnstream.operations import installed, result_topics

END_LIMIT = {"scripted": 600.0, "pyannote": 1800.0}
STILL_LIMIT = {"scripted": 150.0, "pyannote": 450.0}
"""Seconds until nothing is left to do, and until less is left than before, with each engine."""
LOOK = 1.0
READERS = 16
CONSUMED = (Topic.JOBS, Topic.JOBS_RETRY)


@dataclass(frozen=True, slots=True)
class Reached:
    """A partition that workers consume."""

    topic: str
    partition: int
    end: int
    """The offset after its last record; a transaction's markers are none."""
    committed: int | None

    @property
    def done(self) -> bool:
        return self.end == 0 or (self.committed or 0) >= self.end


@dataclass(slots=True)
class Evidence:
    promises: list[Promise]
    keys: list[str]
    """Of every object."""
    bodies: Mapping[str, bytes]
    """Of the objects that say something: job.json and ended.json; with the real model result.json, too."""
    events: list[Told]
    """On the result topics and among the dead letters."""
    intruders: list[Intruder] = field(default_factory=list)
    reached: list[Reached] = field(default_factory=list)
    transactions: list[str] = field(default_factory=list)
    """Partitions with a transaction that nobody ended."""
    leftovers: list[str] = field(default_factory=list)
    """Processes without a parent, files in the spools."""
    computed: Counter[str] = field(default_factory=Counter)
    """How often each stage of a run was: `<job>/<run>/<model>`."""
    ruined: list[float] = field(default_factory=list)
    """When a worker or an engine was struck, in seconds since 1970: each may have cost a job a try."""
    forgotten: list[float] = field(default_factory=list)
    """When the broker lost what it had in memory."""
    max_attempts: int = 3
    exactly_once: bool = False
    scripted: bool = True


async def all_done(where: Field, bus: Bus, say: Callable[[str], None]) -> bool:
    """Wait until everything is up, no mark is left, and all that was published is committed; False if that takes too long."""
    store, engine = await asyncio.to_thread(where.store), where.settings.engine
    began = moved = time.monotonic()
    least = sys.maxsize
    try:
        while time.monotonic() < min(began + END_LIMIT[engine], moved + STILL_LIMIT[engine]):
            left, of = await _left(where, bus, store)
            if not left:
                return True
            if left < least:
                least, moved = left, time.monotonic()
            say(f"waiting for {of}")
            await asyncio.sleep(LOOK)
        return False
    finally:
        store.close()


async def _left(where: Field, bus: Bus, store: ObjectStore) -> tuple[int, str]:
    """How much is left to do, and what: marks count more than partitions, as they come first."""
    if await asyncio.to_thread(ready, where):
        with suppress(StoreUnavailable, BrokerUnavailable):
            if marks := await asyncio.to_thread(lambda: sum(1 for _ in store.list("pending/"))):
                return marks << 10, f"{marks} marks"
            behind = [each for each in await reached(where, bus) if not each.done]
            return len(behind), f"{len(behind)} partitions: {behind[:1]}"
    return sys.maxsize, "API, workers, broker and store"


async def reached(where: Field, bus: Bus) -> list[Reached]:
    found: list[Reached] = []
    for topic in CONSUMED:
        ends: Counter[int] = Counter()
        async for record in bus.snapshot(topic):
            ends[record.position.partition] = max(ends[record.position.partition], record.position.offset + 1)
        reach = await bus.reach(topic, where.settings.consumer_group)
        found += [Reached(topic, number, ends[number], each.committed) for number, each in reach.items()]
    return found


async def gather(where: Field, bus: Bus, promises: list[Promise], seen: list[Told]) -> Evidence:
    keys, bodies = await asyncio.to_thread(_objects, where)
    kafka = where.kind == "local"
    return Evidence(
        promises=promises,
        keys=keys,
        bodies=bodies,
        events=await _all_told(bus) if kafka else seen,
        reached=await reached(where, bus),
        transactions=await asyncio.to_thread(_unended, where.stack.bootstrap) if kafka else [],
        leftovers=await asyncio.to_thread(where.strangers),
        computed=_computed(where),
        max_attempts=where.settings.max_attempts,
        exactly_once=where.settings.transactional,
        scripted=where.settings.engine == "scripted",
    )


async def _all_told(bus: Bus) -> list[Told]:
    """What the broker has now, as one who reads what is committed sees it."""
    topics = (*result_topics(installed()), Topic.JOBS_DLQ)
    return [told(record, record.timestamp) for topic in topics async for record in bus.snapshot(topic)]


def _objects(where: Field) -> tuple[list[str], dict[str, bytes]]:
    store = where.store()
    try:
        keys = [info.key for info in store.list("")]
        names = ("/job.json", "/ended.json", *(() if where.settings.engine == "scripted" else ("/result.json",)))
        telling = [key for key in keys if key.endswith(names)]
        with ThreadPoolExecutor(READERS) as pool:
            return keys, dict(zip(telling, pool.map(store.get, telling), strict=True))
    finally:
        store.close()


def _computed(where: Field) -> Counter[str]:
    if not where.computed_log.exists():
        return Counter()
    return Counter("/".join(line.split()[:3]) for line in where.computed_log.read_text().splitlines())


def _unended(bootstrap: str) -> list[str]:
    """Partitions whose committed end is not their end."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    topics = admin.list_topics(timeout=10).topics
    partitions = [TopicPartition(name, number) for name, each in topics.items() for number in each.partitions]

    def ends(level: IsolationLevel) -> dict[tuple[str, int], int]:
        asked = admin.list_offsets({each: OffsetSpec.latest() for each in partitions}, isolation_level=level)
        return {(each.topic, each.partition): future.result(10).offset for each, future in asked.items()}

    stable, high = ends(IsolationLevel.READ_COMMITTED), ends(IsolationLevel.READ_UNCOMMITTED)
    return [f"{topic}/{number}" for (topic, number), end in high.items() if stable[topic, number] != end]


def ruined(strikes: Iterable[object]) -> list[float]:
    """When workers or engines were struck."""
    return [
        each.at
        for each in strikes
        if each.struck and each.victim in {Victim.WORKER, Victim.ENGINE} and each.act in {Act.KILL, Act.STOP}
    ]

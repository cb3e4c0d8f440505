"""A backlog that stands before anything runs, and how long the first of it waits after a cold start."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from producer_api.intake import new_job_id
from producer_api.publishing import SOURCE, requested
from schemas.events import JOB_REQUESTED, Event, event_id
from schemas.jobs import LIVE_RUN, AudioInfo, Job
from schemas.operations import DIARIZE
from schemas.topics import Layout, Topic
from tests.bench.pouring import recording
from tests.support.stack import CLEAN, Stack
from tests.support.waiting import until
from turnstream import bus as buses
from turnstream import object_store as stores
from turnstream.background import Background
from turnstream.bus.base import Bus, Position
from turnstream.object_store.base import ObjectStore
from turnstream.object_store.filesystem import FilesystemStore
from turnstream.operations import installed
from turnstream.records import Mark, MarkState, Records
from turnstream.records.jobs import _job_key
from turnstream.settings import ANONYMOUS, BrokerKind, Settings, StoreKind

MILESTONES = (1, 100)
"""Jobs that have ended."""
START_LIMIT = 300.0
CHUNK = 1000
"""Jobs that are published and written at a time."""
WRITERS = 16


class Unsynced(FilesystemStore):
    """Writes the same files without waiting for the disk: this backlog need not outlast a power cut."""

    def put_stream(self, key: str, stream: BinaryIO, *, size: int | None = None, if_absent: bool = False) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stream.read())


def cold_start(
    env: Mapping[str, str], jobs: int, folder: Path, ended: Callable[[Stack], int]
) -> dict[str, float | int]:
    """Seconds from the start of `turnstream up` until it is ready, and until so many of `jobs` pending ones have ended."""
    data = folder / "data"
    asyncio.run(_stand(Settings(_env_file=None, data_dir=data, **{k.lower(): v for k, v in env.items()}), jobs))
    found: dict[str, float | int] = {"pending": jobs}
    began = time.monotonic()
    with Background(data, folder / "stack.log", CLEAN | env) as background:
        stack = Stack(background)
        try:
            for milestone in MILESTONES:
                until(lambda: _ended(stack, ended) >= milestone, START_LIMIT)  # noqa: B023 - asked before it changes
                found[f"seconds_until_{milestone}_ended"] = round(time.monotonic() - began, 2)
            background.wait_ready(START_LIMIT)
            found["seconds_until_ready_at_most"] = round(time.monotonic() - began, 2)
        except BaseException:
            print(stack.logs[-20_000:])
            raise
    return found


def _ended(stack: Stack, ended: Callable[[Stack], int]) -> int:
    try:
        return ended(stack)
    except (OSError, KeyError):  # it is not so far yet
        return 0


async def _stand(settings: Settings, jobs: int) -> None:
    records = Records(_store(settings))
    layout = records.agree_on_layout(settings.partition_groups, installed())
    threads = ThreadPoolExecutor(WRITERS)
    async with _broker(settings, layout) as bus:
        topic_id = await bus.topic_id(Topic.JOBS) if bus else None
        for begin in range(0, jobs, CHUNK):
            made = [_job() for _ in range(min(CHUNK, jobs - begin))]
            places = await asyncio.gather(*(_publish(bus, layout, job) for job in made))
            list(threads.map(lambda pair: _write(records, topic_id, *pair), zip(made, places, strict=True)))
    threads.shutdown()
    records.store.close()


def _store(settings: Settings) -> ObjectStore:
    if settings.object_store is StoreKind.FILESYSTEM:
        return Unsynced(settings.data_dir / "objects")
    return stores.connect(settings)


@asynccontextmanager
async def _broker(settings: Settings, layout: Layout) -> AsyncIterator[Bus | None]:
    """None for the embedded one, which begins empty."""
    if settings.broker is BrokerKind.EMBEDDED:
        yield None
        return
    bus = buses.connect(settings)
    await bus.start()
    try:
        await bus.ensure_topics(layout.topics(operation.topic for operation in installed().values()))
        yield bus
    finally:
        await bus.close()


def _job() -> Job:
    audio = AudioInfo(filename="silence.wav", size=len(recording()), sha256="0" * 64, duration=0.1)
    return Job(
        id=new_job_id(), operation=DIARIZE.name, owner=ANONYMOUS, created_at=datetime.now(UTC), audio=audio, params={}
    )


async def _publish(bus: Bus | None, layout: Layout, job: Job) -> Position | None:
    if bus is None:
        return None
    event = Event.of(JOB_REQUESTED, SOURCE, job.id, event_id(job.id, LIVE_RUN), requested(job, LIVE_RUN))
    partition = layout.partition(job.id, job.operation, job.lane)
    return await bus.publish(Topic.JOBS, key=event.key, value=event.data, headers=event.headers, partition=partition)


def _write(records: Records, topic_id: str | None, job: Job, place: Position | None) -> None:
    """What sweep and workers look at, and no more: no recording, no place in the owner's list."""
    records.store.put(_job_key(job.id), job.model_dump_json(exclude_none=True).encode())
    lost = Mark(state=MarkState.QUEUED, at=job.created_at, topic_id="of a broker that is gone", partition=0, offset=0)
    there = {"topic_id": topic_id, "partition": place.partition, "offset": place.offset} if place else {}
    records.put_mark(job.id, LIVE_RUN, lost.model_copy(update=there))

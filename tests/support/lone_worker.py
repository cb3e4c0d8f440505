"""A worker with one partition assigned, and what lies around it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from processor.apart import Apart
from processor.at_least_once import AtLeastOnce
from processor.worker import Worker
from schemas.events import CANCEL_REQUESTED, Event
from schemas.jobs import CancelRequested, Job, JobState
from schemas.topics import Layout, Topic
from tests.support.worker import ToldEngine, accept, job_event, new_job, record_of
from turnstream.bus.base import Position, Record
from turnstream.bus.memory import MemoryBus
from turnstream.object_store.memory import MemoryStore
from turnstream.operations import installed
from turnstream.records import Records
from turnstream.settings import Settings

LAYOUT = Layout().including(installed())


class LoneWorker:
    """Failures that may pass are tried again without delay, once `come_back` is called."""

    def __init__(
        self, data_dir: Path, *, store: MemoryStore | None = None, bus: MemoryBus | None = None, **settings: object
    ) -> None:
        """`store` and `bus`: those of another worker, to stand beside it."""
        at_once = {"retry_delays": (0.0, 0.0, 0.0)}
        self.settings = Settings(_env_file=None, data_dir=data_dir, **(at_once | settings))
        self.store = store or MemoryStore()
        self.records = Records(self.store)
        self.bus = bus or MemoryBus()
        self.acked: list[int] = []
        self.came_back: list[int] = []
        """Offsets on `gpu-jobs.retry` that were acknowledged."""
        self.retried = 0
        self.paused: set[int] = set()
        self.offset = 0
        self.lagging = 0
        self.apart: Apart | None = None
        self.start_over()

    def start_over(self) -> None:
        """Another process: the same store and bus, a new worker and engine."""
        self.engine = ToldEngine()
        outbox = AtLeastOnce(self.bus)
        self.worker = Worker(
            self.settings, self.records, self.bus, LAYOUT, installed(), self.engine, self, outbox, apart=self.apart
        )

    def pause(self, topic: str, partition: int) -> None:
        assert topic == Topic.JOBS
        self.paused.add(partition)

    def resume(self, topic: str, partition: int) -> None:
        assert topic == Topic.JOBS
        self.paused.discard(partition)

    def behind(self) -> set[int]:
        return self.paused

    def lag(self) -> int:
        return self.lagging

    async def start(self) -> "LoneWorker":
        await self.bus.ensure_topics(LAYOUT.topics())
        await self.worker.start()
        self.worker.assigned({0})
        return self

    def receive(self, event: Event | Record, offset: int | None = None, partition: int = 0) -> int:
        at = self.offset if offset is None else offset
        self.offset = max(self.offset, at + 1)
        record = event if isinstance(event, Record) else record_of(event, at, partition)
        self.worker.receive(record, lambda: self.acked.append(at))
        return at

    def submit(self, job: Job | None = None, **fields: object) -> tuple[str, str]:
        job = accept(self.records, job or new_job(**fields))
        self.receive(job_event(job))
        return job.id, "live"

    async def come_back(self) -> None:
        """The broker brings the next record of `gpu-jobs.retry`, and then that of `gpu-jobs` which the worker makes of it."""
        await self.until(lambda: len(self.bus.records(Topic.JOBS_RETRY)) > self.retried)
        record, sent = self.bus.records(Topic.JOBS_RETRY)[self.retried], len(self.bus.records(Topic.JOBS))
        self.retried += 1
        self.worker.receive(record, lambda: self.came_back.append(record.position.offset))
        await self.until(lambda: len(self.bus.records(Topic.JOBS)) > sent)
        self.receive(replace(self.bus.records(Topic.JOBS)[sent], position=Position(Topic.JOBS, 0, self.offset)))

    async def cancel(self, id: tuple[str, str]) -> None:
        """As the API does it."""
        data = CancelRequested(job_id=id[0], run=id[1])
        event = Event.of(CANCEL_REQUESTED, "turnstream/api", id[0], "cancel", data)
        await self.bus.publish("job-control", key=event.key, value=event.data, headers=event.headers)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 - threads are in it, too
                await asyncio.sleep(0.001)

    async def quiet(self) -> None:
        """Whatever can go on without a word of the test has gone on."""
        for _ in range(20):
            await asyncio.sleep(0.001)

    def state(self, id: tuple[str, str]) -> JobState | None:
        ending = self.records.ending(*id)
        return ending.state if ending else None

    def told(self, topic: str = "diarization-results") -> list[Event]:
        return [Event.parse(record.headers, record.value) for record in self.bus.records(topic)]

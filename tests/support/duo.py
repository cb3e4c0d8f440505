"""Two workers on one store and one bus, of which one has the partition, and a clock for what they have open."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from processor.session import SESSION
from schemas.events import Event
from schemas.jobs import JobKey
from tests.support.lone_worker import LoneWorker
from tests.support.worker import accept, job_event, new_job
from turnstream.object_store.memory import MemoryStore
from turnstream.settings import BrokerKind

LEASE = SESSION[BrokerKind.EMBEDDED]
SILENCE = LEASE + 1
"""Seconds after which a worker that was not heard of counts as dead."""


class Line(MemoryStore):
    """A worker's own line to a store that others use, too: it breaks for that worker alone."""

    def __init__(self, common: MemoryStore) -> None:
        super().__init__()
        self._objects, self._lock = common._objects, common._lock


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


class Duo:
    """`log`: the job events of partition 0, in the order of their offsets. Made and used on one event loop."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.clock = Clock()
        common = MemoryStore()
        first = LoneWorker(folder, store=Line(common), worker_id="first", **settings)
        self.first, self.second = (
            first,
            LoneWorker(folder, store=Line(common), bus=first.bus, worker_id="second", **settings),
        )
        self.workers = (self.first, self.second)
        self.records = self.first.records
        self.log: list[Event] = []
        self.owner: LoneWorker | None = None
        self.settled: set[int] = set()

    async def start(self) -> "Duo":
        for worker in self.workers:
            await worker.start()
            worker.worker.revoked()
        self.give(self.first)
        return self

    async def close(self) -> None:
        for worker in self.workers:
            worker.store.mend()
            await worker.worker.close()
            assert not worker.worker.broken.is_set()

    def other(self, worker: LoneWorker) -> LoneWorker:
        return self.second if worker is self.first else self.first

    # The broker

    def submit(self, **fields: Any) -> JobKey:
        job = accept(self.records, new_job(**fields))
        self.log.append(job_event(job))
        if self.owner is not None:
            self.owner.receive(self.log[-1], len(self.log) - 1)
        return job.id, "live"

    def give(self, to: LoneWorker, *, told: bool = True) -> None:
        """The partition moves, and what is not committed comes again. `told`: whether who had it hears of that."""
        self.committed()
        if self.owner is not None and self.owner is not to and told:
            self.take_away(self.owner)
        self.owner = to
        to.acked.clear()
        to.worker.revoked()
        to.worker.assigned({0})
        for offset in range(self.committed(), len(self.log)):
            to.receive(self.log[offset], offset)

    @staticmethod
    def take_away(worker: LoneWorker) -> None:
        worker.worker.revoked()
        worker.worker.assigned({5})

    def committed(self) -> int:
        """The next offset; a worker acknowledges in their order."""
        if self.owner is not None:
            self.settled.update(self.owner.acked)
        return next(offset for offset in range(len(self.log) + 1) if offset not in self.settled)

    # Time

    async def pass_time(self, seconds: float, *heard: LoneWorker) -> None:
        """Those workers renew in time what they have open."""
        for _ in range(int(seconds)):
            self.clock.now += timedelta(seconds=1)
            for worker in heard:
                await worker.worker.leases.renew()

    async def until(self, condition: Callable[[], object]) -> None:
        await self.first.until(condition)

    async def quiet(self) -> None:
        await self.first.quiet()

    def at_work(self, id: JobKey) -> list[LoneWorker]:
        return [worker for worker in self.workers if id in worker.engine.open_ids]

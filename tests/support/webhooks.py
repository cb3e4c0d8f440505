"""A deliverer of webhooks on its own, in a time that a test makes pass; also as a process, to be killed.

`python -m tests.support.webhooks STORE CLOCK` delivers until the queue is empty: each time nothing is due it goes on to the time
when something is, and says so in the file CLOCK.
"""

import asyncio
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from producer_api.metrics import Metrics
from producer_api.webhooks.deliverer import Deliverer
from producer_api.webhooks.lookups import Resolve, resolved
from schemas.jobs import LIVE_RUN, Job
from schemas.webhooks import WebhookState
from tests.support.api import result
from tests.support.receivers import LOCAL
from turnstream.object_store.base import ObjectStore
from turnstream.object_store.filesystem import FilesystemStore
from turnstream.operations import installed
from turnstream.records import Records
from turnstream.settings import Settings

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


class Clock:
    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def pass_until(self, moment: datetime) -> None:
        self.now = max(self.now, moment)

    @property
    def passed(self) -> timedelta:
        return self.now - NOON


class FileClock(Clock):
    """One that outlives its process."""

    def __init__(self, path: Path) -> None:
        super().__init__(datetime.fromisoformat(path.read_text()) if path.exists() else NOON)
        self._path = path

    def pass_until(self, moment: datetime) -> None:
        super().pass_until(moment)
        draft = self._path.with_suffix(".new")
        draft.write_text(self.now.isoformat())
        draft.replace(self._path)


class Bench:
    def __init__(self, store: ObjectStore, clock: Clock, resolve: Resolve = resolved, **settings: object) -> None:
        self.store = store
        self.records = Records(store)
        self.clock = clock
        self._resolve = resolve
        self._settings = Settings(_env_file=None, **LOCAL | settings)  # type: ignore[arg-type]

    def deliverer(self, metrics: Metrics | None = None) -> Deliverer:
        return Deliverer(
            self._settings,
            self.records,
            installed(),
            metrics or Metrics(),
            clock=self.clock,
            resolve=self._resolve,
        )

    def ended_job(self, number: int, url: str) -> str:
        """One whose run ended just now, and whose end nobody heard."""
        job_id = f"0196{number:04x}-0000-7000-8000-{number:012x}"
        self.records.create(Job(id=job_id, owner="alice", created_at=self.clock(), webhook_url=url), None)
        self.records.put_result(job_id, LIVE_RUN, result(job_id))
        self.records.remove_mark(job_id, LIVE_RUN)
        return job_id

    def state(self, job_id: str) -> WebhookState:
        found = self.records.webhook(job_id, LIVE_RUN)
        return found.state if found else WebhookState.PENDING

    async def turn(self, deliverer: Deliverer) -> None:
        """What is due now, to its end."""
        await deliverer.turn()
        await deliverer.settled()

    async def deliver(self, until: Callable[[], bool] = lambda: False) -> None:
        """Until the queue is empty, or `until` says so: time passes from one due time to the next."""
        deliverer = self.deliverer()
        try:
            while not until() and (queued := next(self.records.queued_webhooks(), None)):
                self.clock.pass_until(datetime.fromtimestamp(queued.due / 1000, UTC))
                await self.turn(deliverer)
        finally:
            await deliverer.close(0)


def main(store: str, clock: str) -> None:
    asyncio.run(Bench(FilesystemStore(Path(store)), FileClock(Path(clock))).deliver())


if __name__ == "__main__":
    main(*sys.argv[1:])

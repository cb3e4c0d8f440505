"""A worker apart from the live group: it reads `gpu-jobs` once more from a time on, in a group with offsets of its own, and
computes each job under a run of its own: `python -m processor --group G --run NAME --since T`.

What the live group has is not touched: its offsets, its marks, its retries, its dead letters.

- Records of other runs than a job's first are acknowledged and left, and so are those that cannot be read: the live group has
  set them aside.
- A run whose failure may pass is tried again here, after the same delays: `gpu-jobs.retry` belongs to the live group, and is
  not read. Its record is not acknowledged until then; whoever gets it next after a crash begins with the first try.
- A run that fails is told and stored like any other, and no dead letter is written: nobody asked for the job to be mended.
- A run has a mark from its opening to its end, so that its end is told though its worker dies in between. It names the group,
  by whose offsets the sweep judges it: what the group has behind it without an end, or what lay in a topic that is gone, the
  sweep publishes again for the live group.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

from processor.delivery import Delivery, again
from processor.held import Held, Stage
from processor.receipts import Receipt
from schemas.errors import ErrorInfo, ReplayRefused
from schemas.jobs import LIVE_RUN, RUN_NAMES, JobState, Lane, is_run_name
from schemas.topics import Topic
from turnstream.bus.base import Bus, Record
from turnstream.records import Mark, Records, ReplayGroup, RunRequest
from turnstream.replay.when import read_time
from turnstream.settings import BrokerKind, Settings

_GROUP = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True, slots=True)
class Apart:
    group: str
    run: str
    since: datetime

    @classmethod
    def of(cls, group: str, run: str, since: str) -> Self:
        """As they are typed. Raises ReplayRefused."""
        if not _GROUP.fullmatch(group):
            raise ReplayRefused(f"{group[:60]!r} is no name of a group: letters, digits, dots, - and _")
        if not is_run_name(run) or run == LIVE_RUN:
            raise ReplayRefused(f"{run[:60]!r} is no name of another run: {RUN_NAMES}, and not {LIVE_RUN}")
        return cls(group, run, read_time(since, datetime.now(UTC)))

    def settings(self, settings: Settings) -> Settings:
        """Those of a worker of this group; it may run beside one of the live group with the same. Raises ReplayRefused."""
        if settings.broker is BrokerKind.EMBEDDED:
            raise ReplayRefused(
                "--group wants Apache Kafka (BROKER=kafka): use `turnstream replay` on the embedded broker"
            )
        if self.group == settings.consumer_group:
            raise ReplayRefused(f"{self.group} is the live group (CONSUMER_GROUP): name another one")
        name = re.sub(r"[^a-z0-9.-]", "-", f"{settings.worker_name}.{self.group}".lower())[:63]
        return settings.model_copy(update={"consumer_group": self.group, "worker_name": name})

    async def set_out(self, bus: Bus, records: Records) -> None:
        """Have the group begin at the time that its first worker said, unless it has begun. Raises ReplayRefused where it
        computes another run, BrokerUnavailable, StoreUnavailable.
        """
        wanted = ReplayGroup(run=self.run, since=self.since)
        agreed = await asyncio.to_thread(records.agree_on_group, self.group, wanted)
        if agreed.run != self.run:
            raise ReplayRefused(f"The group {self.group} computes the run {agreed.run}: name another group")
        offsets = await bus.offsets_at(Topic.JOBS, agreed.since.timestamp())
        await bus.begin_group(Topic.JOBS, self.group, offsets)

    def takes(self, held: Held) -> bool:
        """Whether a job that was read is to be computed; it then is the further run of it."""
        if held.run != LIVE_RUN:
            return False
        held.run, held.job = self.run, held.job.model_copy(update={"lane": Lane.BATCH})
        held.retries, held.ready_at = 0, datetime.now(UTC).timestamp()
        return True


class DeliveryApart(Delivery):
    """`later` has a job taken in again when its time has come."""

    sets_aside = False

    def __init__(self, group: str, later: Callable[[Held, Receipt], None], *of: Any) -> None:
        super().__init__(*of)
        self._group = group
        self._later = later

    async def begin(self, held: Held) -> bool:
        """Take the run's name and put its mark. False where nobody wants the job: it was cancelled."""
        topic_id = await self._topic_ids(Topic.JOBS)
        return await self._in_thread(f"begin {held.job.id}", self._begin, held, topic_id)

    def _begin(self, held: Held, topic_id: str | None) -> bool:
        """Blocks. Of a job that was erased nothing is written."""
        if not self._records.has_job(held.job.id):
            return True
        live = self._records.outcome(held.job.id, LIVE_RUN)
        if live is not None and live[0] is JobState.CANCELLED:
            return False
        wanted = RunRequest(params=held.job.params, created_at=datetime.now(UTC), lane=Lane.BATCH)
        held.job = self._records.request_run(*held.id, wanted).applied_to(held.job)
        at = held.record.position
        mark = Mark.queued(at.topic, topic_id, at.partition, at.offset, 0).model_copy(update={"group": self._group})
        if self._records.mark(*held.id) is None and not self._records.ended(*held.id):
            self._records.put_first_mark(*held.id, mark)
        return True

    async def refuse(self, record: Record, error: ErrorInfo, receipt: Receipt) -> None:
        await self.leave(receipt)

    async def retry(self, held: Held, error: ErrorInfo, tier: int, attempt: int, not_before: float) -> bool:
        extra = {"attempt": str(attempt), "not_before": f"{not_before:.3f}", "error": error.code}
        headers = again(held.record, Topic.JOBS, held.record.position.partition, extra).headers
        for receipt in tuple(held.receipts):
            anew = replace(held, record=replace(held.record, headers=headers), receipts=[], stage=Stage.WAITING)
            anew.alone, anew.attempts, anew.retries, anew.ready_at = False, 0, attempt, not_before
            self._later(anew, receipt)
        return True

"""How a further run of a job is asked for: mark, event, then the mark says where the event lies.

So whatever is interrupted is mended: a mark without an event is taken up by whoever asks again, or removed by the sweep; one
whose event got lost is published again by it. The run's name, and what it stands for, are taken before: `Records.request_run`.
"""

import asyncio
from datetime import UTC, datetime
from typing import Self

from schemas.errors import BrokerUnavailable, JobNotFound, LayoutMismatch, TurnstreamError
from schemas.jobs import Job
from schemas.topics import Layout, Topic
from turnstream import points
from turnstream.bus.base import Bus
from turnstream.publishing import publish_job
from turnstream.records import Mark, MarkState, Records


class FurtherRuns:
    """Of one broker and one store."""

    def __init__(self, bus: Bus, records: Records, layout: Layout, topic_id: str, source: str) -> None:
        """`topic_id`: the incarnation of `gpu-jobs`. `source`: who asks, in the events."""
        self._bus = bus
        self._records = records
        self._layout = layout
        self._topic_id = topic_id
        self._source = source

    @classmethod
    async def on(cls, bus: Bus, records: Records, source: str) -> Self:
        """Raises LayoutMismatch, BrokerUnavailable, StoreUnavailable."""
        layout = await asyncio.to_thread(records.layout)
        if layout is None:
            raise LayoutMismatch("there is no layout yet, and so no job: the first service that starts makes it")
        topic_id = await bus.topic_id(Topic.JOBS)
        if topic_id is None:
            raise BrokerUnavailable("the broker has no topics yet: the service makes them when it starts")
        return cls(bus, records, layout, topic_id, source)

    async def ask(self, job: Job, run: str) -> Mark | None:
        """Have a run computed; `job` is the job as this run computes it. Returns the mark that says where its event lies; None
        where it was asked for before, and waits or has ended.

        Raises JobNotFound, BrokerUnavailable, StoreUnavailable.
        """
        mark = Mark(state=MarkState.ACCEPTING, at=datetime.now(UTC))
        try:
            if not await asyncio.to_thread(begin, self._records, job.id, run, mark):
                return None
            queued = await publish_job(self._bus, self._layout, job, run, topic_id=self._topic_id, source=self._source)
        except TurnstreamError:
            await asyncio.to_thread(
                self._records.give_up_run, job.id, run, mark
            )  # its name stays: the next takes it up
            raise
        points.passing("run.published")
        await asyncio.to_thread(self._records.note_published, job.id, run, queued)
        return queued


def begin(records: Records, job_id: str, run: str, mark: Mark) -> bool:
    """Put the mark, unless a twin of this call or one that was broken off has put its own. False where the run was accepted
    already: it waits, or has ended. Raises JobNotFound where the job was erased meanwhile: the erasure did not see the mark,
    which the caller takes back. Blocks.
    """
    if records.was_accepted(job_id, run):
        return False
    if records.mark(job_id, run) is None:
        records.put_first_mark(job_id, run, mark)
    if not records.has_job(job_id):
        raise JobNotFound(f"There is no job {job_id}")
    points.passing("run.marked")
    return True

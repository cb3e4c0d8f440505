"""Stopping a run: the object says so for good, the event says so at once."""

import asyncio
import logging

from schemas.errors import BrokerUnavailable
from schemas.events import CANCEL_REQUESTED, Event, event_id
from schemas.jobs import CancelRequested
from schemas.topics import Topic
from turnstream.bus.base import Bus
from turnstream.records import Records

log = logging.getLogger("turnstream.cancelling")

PUBLISH_LIMIT = 2.0
"""Seconds the broker has: without the event the worker learns of the cancel when it opens the job."""


def store_cancel(records: Records, job_id: str, run: str) -> bool:
    """Cancel a run; False where it has ended. Nothing stays of a job that was erased meanwhile. Blocks."""
    if records.ended(job_id, run):
        return False
    cancelled = records.put_cancelled(job_id, run) is not None
    if not records.has_job(job_id):
        records.erase(job_id)
    return cancelled


async def tell_cancel(bus: Bus, job_id: str, run: str, source: str) -> None:
    """Have whoever works on the run stop at once, where the broker can be reached."""
    event = Event.of(
        CANCEL_REQUESTED,
        source,
        subject=job_id,
        id_=f"{event_id(job_id, run)}/cancel",
        data=CancelRequested(job_id=job_id, run=run),
    )
    try:
        async with asyncio.timeout(PUBLISH_LIMIT):
            await bus.publish(Topic.JOB_CONTROL, key=event.key, value=event.data, headers=event.headers)
    except (BrokerUnavailable, TimeoutError):
        log.warning("job %s is cancelled, and the worker will learn it late: the broker is away", job_id)

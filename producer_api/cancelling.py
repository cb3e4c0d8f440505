"""Stopping a run: the object says so for good, the event says so at once."""

import asyncio
import logging

from producer_api.publishing import SOURCE
from producer_api.service import Service
from schemas.errors import BrokerUnavailable
from schemas.events import CANCEL_REQUESTED, Event, event_id
from schemas.jobs import CancelRequested, Job
from schemas.topics import Topic
from turnstream.records import Records

log = logging.getLogger("turnstream.api")

PUBLISH_LIMIT = 2.0
"""Seconds the broker has: without the event the worker learns of the cancel when it opens the job."""


async def cancel(service: Service, job: Job, run: str) -> None:
    """Cancel a run unless it has ended. Raises StoreUnavailable."""
    if await service.threads.run(service.records.ended, job.id, run):
        return
    await service.threads.run(_put_cancelled, service.records, job.id, run)
    service.results.wake(job.id, run)
    event = Event.of(
        CANCEL_REQUESTED,
        SOURCE,
        subject=job.id,
        id_=f"{event_id(job.id, run)}/cancel",
        data=CancelRequested(job_id=job.id, run=run),
    )
    try:
        async with asyncio.timeout(PUBLISH_LIMIT):
            await service.bus.publish(Topic.JOB_CONTROL, key=event.key, value=event.data, headers=event.headers)
    except (BrokerUnavailable, TimeoutError):
        log.warning("job %s is cancelled, and the worker will learn it late: the broker is away", job.id)


def _put_cancelled(records: Records, job_id: str, run: str) -> None:
    """Blocks. Nothing stays of a job that was erased meanwhile."""
    records.put_cancelled(job_id, run)
    if not records.has_job(job_id):
        records.erase(job_id)

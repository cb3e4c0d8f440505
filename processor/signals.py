"""What the worker hears and tells beside the jobs themselves: cancels and progress."""

import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from processor.delivery import SOURCE
from processor.held import Held
from schemas.errors import InfrastructureError, TurnstreamError
from schemas.events import CANCEL_REQUESTED, JOB_PROGRESSED, Event, event_id
from schemas.jobs import CancelRequested, JobKey, JobProgressed, Progress
from schemas.topics import Topic
from turnstream.bus.base import Bus

logger = logging.getLogger(__name__)

PROGRESS_INTERVAL = 1.0
"""Seconds between two progress events of a job, at least."""
CLOCK_SLACK = 60.0
"""Seconds by which the clocks of API and worker may differ; a cancel from before the worker's start does no harm."""


async def cancels(bus: Bus) -> AsyncGenerator[JobKey, None]:
    """The runs that somebody wants stopped, from about now on and for ever."""
    async with aclosing(bus.read(Topic.JOB_CONTROL, since=time.time() - CLOCK_SLACK)) as records:
        async for record in records:
            try:
                request = Event.parse(record.headers, record.value).read(CANCEL_REQUESTED, CancelRequested)
            except TurnstreamError as error:
                logger.warning("%s is not a cancel: %s", record.position, error)
            else:
                yield request.job_id, request.run


def progress_due(held: Held) -> bool:
    """Whether the job's progress may be told again; if so, it counts as told."""
    now = time.monotonic()
    if now - held.progressed_at < PROGRESS_INTERVAL:
        return False
    held.progressed_at = now
    return True


async def tell_progress(bus: Bus, held: Held, progress: Progress) -> None:
    """A hint for whoever watches: one that cannot be sent is left out."""
    id = f"{event_id(*held.id)}/{held.attempts}/{progress.stage}/{progress.fraction:.4f}"
    data = JobProgressed(job_id=held.job.id, run=held.run, progress=progress)
    event = Event.of(JOB_PROGRESSED, SOURCE, held.job.id, id, data, held.traceparent)
    try:
        await bus.publish(Topic.JOB_PROGRESS, key=event.key, value=event.data, headers=event.headers, partition=0)
    except InfrastructureError as error:
        logger.debug("progress of %s was not told: %s", held.id, error)

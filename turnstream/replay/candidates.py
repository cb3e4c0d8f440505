"""The jobs that a replay means, from the record or from the topic."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from datetime import datetime, timedelta
from itertools import islice
from typing import TypeVar

from schemas.errors import TurnstreamError
from schemas.events import JOB_REQUESTED, Event
from schemas.jobs import LIVE_RUN, Job, JobRequested, JobState
from schemas.topics import Topic
from turnstream.bus.base import Bus, Reaches, Record
from turnstream.records import Glimpse, Records, ReplayRequest
from turnstream.settings import Settings

T = TypeVar("T")

STEP = 256
"""Items that are taken of a listing at a time."""
_MOMENT = timedelta(seconds=1)
_LATE = timedelta(hours=1)
"""How much later than it says the sweep forgets an Idempotency-Key; and more than clocks may be apart."""


def is_meant(records: Records, request: ReplayRequest, glimpse: Glimpse) -> bool:
    """By the state of its first run. What was cancelled nobody wants, unless it is asked for. Blocks."""
    state = records.state_of(glimpse.job_id, LIVE_RUN, glimpse.live)
    return state is not JobState.CANCELLED if request.state is None else state is request.state


def accepted_between(request: ReplayRequest, job: Job) -> bool:
    """Of the topic, too: a copy of an older job's event is none of that time's jobs."""
    return request.since <= job.created_at < request.until


def stretch(settings: Settings, request: ReplayRequest) -> tuple[datetime, datetime]:
    """When the ids of all jobs that may be meant were made, and of some before: an id is made when an upload begins, and its
    job is accepted when it has ended. A submission that broke off and is sent again under its Idempotency-Key takes up its id.
    """
    remembered = timedelta(seconds=max(settings.idempotency_seconds, settings.accepting_limit))
    return _uploading(settings, request) - remembered - _LATE, request.until + _MOMENT


def glimpses(settings: Settings, records: Records, request: ReplayRequest, run: str) -> Iterator[Glimpse]:
    """Of those jobs. Blocks."""
    first, end = stretch(settings, request)
    uploading = _uploading(settings, request)
    # A day of jobs, of which hardly one was taken up late: the time of its object tells it, and the others need not be read.
    yield from records.glimpses(first, uploading, run, stored=request.since - _LATE)
    yield from records.glimpses(uploading, end, run)


def _uploading(settings: Settings, request: ReplayRequest) -> datetime:
    """When the first upload that ended in its time may have begun."""
    return request.since - timedelta(seconds=settings.upload_timeout) - _MOMENT


async def reaches(bus: Bus, request: ReplayRequest) -> Reaches:
    """Where the jobs of the topic lie: fixed from now on. Raises BrokerUnavailable."""
    first, end = [await bus.offsets_at(Topic.JOBS, at.timestamp()) for at in (request.since, request.until)]
    return {number: (at, end[number]) for number, at in first.items() if number in end}


async def of_topic(bus: Bus, reaches: Reaches) -> AsyncGenerator[str | None, None]:
    """The job of each record; None for one that is none of a first run's."""
    async with aclosing(bus.snapshot(Topic.JOBS, reaches)) as found:
        async for record in found:
            yield _job_of(record)


def glimpse_of(records: Records, job_id: str, run: str) -> Glimpse:
    """Blocks."""
    return Glimpse(job_id, live=records.names(job_id, LIVE_RUN), run=records.names(job_id, run))


async def stepwise(items: Iterator[T]) -> AsyncGenerator[T, None]:
    """What blocks is taken in a thread, some at a time."""
    while batch := await asyncio.to_thread(_take, items):
        for item in batch:
            yield item


def _take(items: Iterator[T]) -> list[T]:
    return list(islice(items, STEP))


def _job_of(record: Record) -> str | None:
    try:
        requested = Event.parse(record.headers, record.value).read(JOB_REQUESTED, JobRequested)
    except TurnstreamError:  # set aside by the worker that read it
        return None
    return requested.job_id if requested.run == LIVE_RUN else None

"""A submission from its first byte to the acknowledged job event: after it the job exists whole, or nothing of it does."""

import asyncio
import logging
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from uuid_utils import uuid7

from producer_api.broker_watch import BrokerWatch
from producer_api.form import Upload, read_form
from producer_api.probing import Prober
from producer_api.problems import invalid
from producer_api.publishing import Publisher
from producer_api.threads import Threads
from schemas.errors import AudioTooLong, InvalidRequest, StoreUnavailable, TurnstreamError, UnknownOperation
from schemas.events import continued
from schemas.jobs import LIVE_RUN, AudioInfo, DiarizeParams, Job, JobId, Lane, Operation
from turnstream.records import Records
from turnstream.settings import Settings

log = logging.getLogger("turnstream.api")
T = TypeVar("T")

PARAM_FIELDS = tuple(DiarizeParams.model_fields)
JOB_FIELDS = ("operation", "lane", *PARAM_FIELDS)
_JOB_ID = TypeAdapter[str](JobId)


def new_job_id() -> str:
    return str(uuid7())


def is_job_id(text: str) -> bool:
    try:
        _JOB_ID.validate_python(text)
    except ValidationError:
        return False
    return True


class Intake:
    def __init__(
        self,
        settings: Settings,
        records: Records,
        publisher: Publisher,
        watch: BrokerWatch,
        prober: Prober,
        threads: Threads,
    ) -> None:
        self._settings = settings
        self._records = records
        self._publisher = publisher
        self._watch = watch
        self._prober = prober
        self._threads = threads
        self._open: set[asyncio.Task[Any]] = set()
        # The sweep erases what is older than accepting_limit; by half of it we have given up ourselves.
        self._limit = settings.accepting_limit / 2

    async def submit(self, request: Request, job_id: str, owner: str, known: tuple[str, ...]) -> Job:
        """Take a recording in under `job_id`. Raises what a caller may be told: see the tree of errors.

        Once the form is there the rest is done even if the caller leaves or the request is cancelled.
        """
        self._watch.require_layout()
        upload = await read_form(request, known, self._settings, self._threads)
        traceparent = continued(request.headers.get("traceparent", ""))
        return await self._shielded(self._accept(upload, job_id, owner, traceparent))

    async def close(self, seconds: float) -> None:
        """Let what is being accepted come to its end."""
        if self._open:
            await asyncio.wait(self._open, timeout=seconds)

    async def _accept(self, upload: Upload, job_id: str, owner: str, traceparent: str) -> Job:
        try:
            operation, lane, params = read_fields(upload.fields)
            probe = await self._prober.probe(upload.path)
            longest = self._settings.max_audio_seconds
            if probe.duration is not None and probe.duration > longest:
                raise AudioTooLong(f"The recording lasts {probe.duration:.0f} s, {longest:g} s are taken at most")
            job = Job(
                id=job_id,
                operation=operation,
                lane=lane,
                params=params,
                owner=owner,
                created_at=datetime.now(UTC),
                audio=AudioInfo(
                    filename=upload.filename,
                    content_type=upload.content_type,
                    size=upload.size,
                    sha256=upload.sha256,
                    duration=probe.duration,
                ),
            )
            creating = asyncio.create_task(self._threads.run(self._create, job, upload))
            try:
                async with asyncio.timeout(self._limit):
                    await asyncio.shield(creating)
                    await self._publish(job, traceparent)
            except BaseException as error:
                await self._shielded(self._undo(job, creating))
                if isinstance(error, TimeoutError):
                    raise StoreUnavailable(f"The job could not be stored within {self._limit:g} s") from error
                raise
        finally:
            await self._threads.run(upload.discard)
        log.info("job %s accepted: %s, %d bytes", job.id, job.operation, upload.size)
        return job

    def _create(self, job: Job, upload: Upload) -> None:
        with upload.path.open("rb") as audio:
            self._records.create(job, audio)

    async def _publish(self, job: Job, traceparent: str) -> None:
        topic_id = self._watch.topic_id
        await self._publisher.publish(job, LIVE_RUN, topic_id, traceparent)
        if (
            self._watch.topic_id != topic_id
        ):  # made anew meanwhile, and the sweep after it may have come before our mark
            self._watch.announce()
        # A worker that was quicker than we are has removed the mark before we wrote it.
        if await self._threads.run(self._records.ended, job.id, LIVE_RUN):
            await self._threads.run(self._records.remove_mark, job.id, LIVE_RUN)

    async def _undo(self, job: Job, creating: asyncio.Task[None]) -> None:
        """Remove everything. Should the event have reached the broker all the same, the worker finds no job and goes on."""
        await asyncio.wait([creating])  # a thread cannot be stopped: what it still writes must be there to be erased
        try:
            await self._threads.run(self._records.erase_unindexed, job.id)
        except TurnstreamError as error:
            log.warning("job %s was refused and could not be erased; the sweep will: %s", job.id, error.detail)

    async def _shielded(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.create_task(work)
        self._open.add(task)
        task.add_done_callback(self._closed)
        return await asyncio.shield(task)

    def _closed(self, task: asyncio.Task[Any]) -> None:
        self._open.discard(task)
        if not task.cancelled():
            task.exception()  # whoever left does not fetch it


def read_fields(fields: dict[str, str]) -> tuple[Operation, Lane, DiarizeParams]:
    """Raises UnknownOperation, InvalidRequest."""
    name = fields.get("operation", Operation.DIARIZE)
    if name not in set(Operation):
        raise UnknownOperation(f"There is no operation {name[:100]!r}; there are {', '.join(Operation)}")
    lane = fields.get("lane", Lane.INTERACTIVE)
    if lane not in set(Lane):
        raise InvalidRequest(f"There is no lane {lane[:100]!r}; there are {', '.join(Lane)}")
    try:
        params = DiarizeParams.model_validate({key: fields[key] for key in PARAM_FIELDS if key in fields})
    except ValidationError as error:
        raise invalid(error) from None
    return Operation(name), Lane(lane), params

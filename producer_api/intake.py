"""A submission from its first byte to the acknowledged job event: after it the job exists whole, or nothing of it does."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from uuid_utils import uuid7

from producer_api.auth import require_enabled
from producer_api.broker_watch import BrokerWatch
from producer_api.form import AUDIO_FIELDS, Upload, read_form
from producer_api.order import Order, require_possible, webhook_of
from producer_api.pledges import Pledges
from producer_api.probing import Prober
from producer_api.publishing import Publisher, require_size
from producer_api.threads import Threads
from schemas.errors import AudioMissing, AudioTooLong, InvalidRequest, StoreUnavailable, TurnstreamError
from schemas.events import continued
from schemas.jobs import LIVE_RUN, AudioInfo, Job, JobId
from schemas.operation import Operation
from turnstream.records import Records
from turnstream.settings import Settings

log = logging.getLogger("turnstream.api")
ReadOrder = Callable[[Mapping[str, str]], Order]
"""Raises UnknownOperation, InvalidRequest."""

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
        pledges: Pledges,
    ) -> None:
        self._settings = settings
        self._records = records
        self._publisher = publisher
        self._watch = watch
        self._prober = prober
        self._threads = threads
        self._pledges = pledges
        # The sweep erases what is older than accepting_limit; by half of it we have given up ourselves.
        self._limit = settings.accepting_limit / 2

    async def submit(self, request: Request, job_id: str, owner: str, read: ReadOrder) -> Job:
        """Take in what a form brings, under `job_id`; `read` tells from its fields what is wanted.

        Raises what a caller may be told: see the tree of errors. Once the form is there the rest is done even if the caller
        leaves or the request is cancelled.
        """
        self._watch.require_layout()
        upload = await read_form(request, self._settings, self._threads)
        traceparent = continued(request.headers.get("traceparent", ""))
        return await self._pledges.keep(self._accept(upload, read, job_id, owner, traceparent))

    async def _accept(self, upload: Upload, read: ReadOrder, job_id: str, owner: str, traceparent: str) -> Job:
        try:
            order = read(upload.fields)
            require_enabled(order.operation, self._settings)
            webhook_url = webhook_of(order.webhook_url, self._settings)
            audio = await self._examined(upload, order.operation)
            if order.operation.check is not None:
                await self._threads.run(require_possible, order.operation, self._settings, order.params)
            job = Job(
                id=job_id,
                operation=order.operation.name,
                lane=order.lane,
                params=order.params,
                owner=owner,
                created_at=datetime.now(UTC),
                audio=audio,
                webhook_url=webhook_url,
            )
            require_size(job, LIVE_RUN)
            creating = asyncio.create_task(self._threads.run(self._create, job, upload))
            try:
                async with asyncio.timeout(self._limit):
                    await asyncio.shield(creating)
                    await self._publisher.accept(job, LIVE_RUN, traceparent)
            except BaseException as error:
                await self._pledges.keep(self._undo(job, creating))
                if isinstance(error, TimeoutError):
                    raise StoreUnavailable(f"The job could not be stored within {self._limit:g} s") from error
                raise
        except BaseException:
            await self._threads.run(upload.discard)
            raise
        log.info("job %s accepted: %s, %d bytes", job.id, job.operation, audio.size if audio else 0)
        return job

    async def _examined(self, upload: Upload, operation: Operation) -> AudioInfo | None:
        """What is known of the recording, if the operation works on one. Raises AudioMissing, the AudioError tree, Busy."""
        audio = upload.audio
        if not operation.audio:
            if audio is not None:
                raise InvalidRequest(f"{operation.name} takes no recording")
            return None
        if audio is None:
            raise AudioMissing(f"Send the recording in the field {' or '.join(AUDIO_FIELDS)}")
        probe = await self._prober.probe(upload.path)
        longest = self._settings.max_audio_seconds
        if probe.duration is not None and probe.duration > longest:
            raise AudioTooLong(f"The recording lasts {probe.duration:.0f} s, {longest:g} s are taken at most")
        return audio.model_copy(update={"duration": probe.duration})

    def _create(self, job: Job, upload: Upload) -> None:
        with upload.path.open("rb") as audio:
            self._records.create(job, audio if job.audio else None)
        upload.discard()  # here, where it costs no thread of its own

    async def _undo(self, job: Job, creating: asyncio.Task[None]) -> None:
        """Remove everything. Should the event have reached the broker all the same, the worker finds no job and goes on."""
        await asyncio.wait([creating])  # a thread cannot be stopped: what it still writes must be there to be erased
        try:
            await self._threads.run(self._records.erase, job.id)
        except TurnstreamError as error:
            log.warning("job %s was refused and could not be erased; the sweep will: %s", job.id, error.detail)

"""A submission from its first byte to the acknowledged job event: after it the job exists whole, or nothing of it does."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from uuid_utils import uuid7

from producer_api.auth import require_enabled
from producer_api.broker_watch import BrokerWatch
from producer_api.form import AUDIO_FIELDS, Upload, read_form
from producer_api.idempotency import Keys, Turn, Use, use_of
from producer_api.order import Order, require_possible
from producer_api.pledges import Pledges
from producer_api.probing import Prober
from producer_api.publishing import Publisher, require_size
from producer_api.threads import Threads
from producer_api.webhooks.admission import webhook_of
from schemas.errors import AudioMissing, AudioTooLong, InvalidRequest, StoreUnavailable, TurnstreamError
from schemas.events import continued
from schemas.jobs import LIVE_RUN, AudioInfo, Job, JobId
from schemas.operation import Operation
from turnstream import points
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


@dataclass(frozen=True, slots=True)
class Submission:
    job_id: str
    owner: str
    read: ReadOrder
    upload: Upload
    traceparent: str


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
        self._keys = Keys(records, threads, settings.wait_limit)
        # The sweep erases what is older than accepting_limit; by half of it we have given up ourselves.
        self._limit = settings.accepting_limit / 2

    async def submit(self, request: Request, job_id: str, owner: str, read: ReadOrder, key: str | None = None) -> Job:
        """Take in what a form brings, under `job_id`; `read` tells from its fields what is wanted. What was submitted before
        under the same Idempotency-Key is the job of then, which has another id.

        Raises what a caller may be told: see the tree of errors. Once the form is there the rest is done even if the caller
        leaves or the request is cancelled.
        """
        self._watch.require_layout()
        upload = await read_form(request, self._settings, self._threads)
        traceparent = continued(request.headers.get("traceparent", ""))
        asked = Submission(job_id, owner, read, upload, traceparent)
        use = use_of(key, owner, request.url.path, upload) if key else None
        return await self._pledges.keep(self._take_in(asked, use))

    async def _take_in(self, asked: Submission, use: Use | None) -> Job:
        try:
            if use is None:
                return await self._accept(asked, None)
            async with self._keys.turn(use) as turn:
                return await turn.answer() or await self._accept(asked, turn)
        finally:
            if asked.upload.path.exists():  # a thread of its own only where it is still there
                await self._threads.run(asked.upload.discard)

    async def _accept(self, asked: Submission, turn: Turn | None) -> Job:
        job = await self._examined(asked)
        if turn is not None:
            claimed = await turn.claim(job.id)
            if isinstance(claimed, Job):
                return claimed
            job = job.model_copy(update={"id": claimed.job_id, "claim": claimed.entry})
        creating = asyncio.create_task(self._threads.run(self._create, job, asked.upload))
        try:
            async with asyncio.timeout(self._limit):
                job = await self._stored_and_published(job, creating, asked.traceparent)
        except BaseException as error:
            await self._pledges.keep(self._undo(job, creating))
            if isinstance(error, TimeoutError):
                raise StoreUnavailable(f"The job could not be stored within {self._limit:g} s") from error
            raise
        log.info("job %s accepted: %s, %d bytes", job.id, job.operation, job.audio.size if job.audio else 0)
        return job

    async def _examined(self, asked: Submission) -> Job:
        """The job that is asked for, where it may be. Raises what a caller did wrong."""
        order = asked.read(asked.upload.fields)
        require_enabled(order.operation, self._settings)
        webhook_url = webhook_of(order.webhook_url, self._settings)
        audio = await self._listened_to(asked.upload, order.operation)
        if order.operation.check is not None:
            await self._threads.run(require_possible, order.operation, self._settings, order.params)
        job = Job(
            id=asked.job_id,
            operation=order.operation.name,
            lane=order.lane,
            params=order.params,
            owner=asked.owner,
            created_at=datetime.now(UTC),
            audio=audio,
            webhook_url=webhook_url,
        )
        require_size(job, LIVE_RUN)
        return job

    async def _listened_to(self, upload: Upload, operation: Operation) -> AudioInfo | None:
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

    async def _stored_and_published(self, job: Job, creating: asyncio.Task[Job | None], traceparent: str) -> Job:
        created = await asyncio.shield(creating)
        if created is not None:
            await self._publisher.accept(created, LIVE_RUN, traceparent)
        if job.claim is not None and not await self._threads.run(self._records.keep_promise, job.claim, job.id):
            raise StoreUnavailable("The submission was given up meanwhile: send it again")
        points.passing("intake.promised")
        return created or await self._threads.run(self._records.job, job.id)

    def _create(self, job: Job, upload: Upload) -> Job | None:
        """The job as it is stored; None where an earlier call under its claim has stored and published it. Blocks."""
        if job.claim is not None and self._records.was_accepted(job.id, LIVE_RUN):
            return None
        with upload.path.open("rb") as audio:
            created = self._records.create(job, audio if job.audio else None)
        upload.discard()  # here, where it costs no thread of its own
        return created

    async def _undo(self, job: Job, creating: asyncio.Task[Job | None]) -> None:
        """Remove everything. Should the event have reached the broker all the same, the worker finds no job and goes on."""
        await asyncio.wait([creating])  # a thread cannot be stopped: what it still writes must be there to be erased
        try:
            await self._threads.run(self._give_up, job)
        except TurnstreamError as error:
            log.warning("job %s was refused and could not be erased; the sweep will: %s", job.id, error.detail)

    def _give_up(self, job: Job) -> None:
        """Blocks. What an earlier or later call under the same claim has brought to its end stays."""
        if job.claim is None or self._records.give_up_claim(job.claim, job.id):
            self._records.erase(job.id)

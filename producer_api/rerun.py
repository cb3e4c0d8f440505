"""Another run of a job: the same recording with other parameters, beside what was found before."""

import asyncio
import logging
from datetime import UTC, datetime

from starlette.requests import Request

from producer_api.auth import require_enabled
from producer_api.broker_watch import BrokerWatch
from producer_api.form import Upload, read_form
from producer_api.order import WEBHOOK_FIELD, read_run, require_possible
from producer_api.pledges import Pledges
from producer_api.publishing import Publisher, require_size
from producer_api.threads import Threads
from producer_api.webhooks.admission import webhook_of
from schemas.errors import RunExists, StoreUnavailable, TooManyRuns, TurnstreamError, UnknownOperation
from schemas.events import continued
from schemas.jobs import LIVE_RUN, Job
from turnstream.further_runs import begin
from turnstream.operations import Operations
from turnstream.records import Mark, MarkState, Records, RunRequest
from turnstream.settings import Settings

log = logging.getLogger("turnstream.api")

MAX_NUMBERED = 1000
"""Runs of a job that get a name by themselves: run-2, run-3 and so on."""


class Reruns:
    def __init__(
        self,
        settings: Settings,
        records: Records,
        publisher: Publisher,
        watch: BrokerWatch,
        threads: Threads,
        pledges: Pledges,
        operations: Operations,
    ) -> None:
        self._settings = settings
        self._records = records
        self._publisher = publisher
        self._watch = watch
        self._threads = threads
        self._pledges = pledges
        self._operations = operations
        self._limit = settings.accepting_limit / 2  # as for a submission: the sweep comes after it

    async def submit(self, request: Request, job: Job) -> tuple[Job, str]:
        """The job as the run that the form asks for computes it, and that run's name. What was asked for already, under the
        same name and with the same parameters, is only named again.

        Raises what a caller may be told: see the tree of errors.
        """
        self._watch.require_layout()
        upload = await read_form(request, self._settings, self._threads, recording=False)
        traceparent = continued(request.headers.get("traceparent", ""))
        return await self._pledges.keep(self._accept(upload, job, traceparent))

    async def _accept(self, upload: Upload, job: Job, traceparent: str) -> tuple[Job, str]:
        await self._threads.run(upload.discard)
        operation = self._operations.get(job.operation)
        if operation is None:
            raise UnknownOperation(f"The operation {job.operation} is not installed any more")
        require_enabled(operation, self._settings)
        name, params = read_run(upload, operation, job.params)
        given = upload.fields.get(WEBHOOK_FIELD)
        request = RunRequest(params=params, created_at=datetime.now(UTC), webhook_url=webhook_of(given, self._settings))
        await self._threads.run(require_possible, operation, self._settings, params)
        require_size(job.model_copy(update={"params": params}), name or LIVE_RUN)
        run, stands = await self._threads.run(self._named, job.id, name, request, given)
        wanted = stands.applied_to(job)
        await self._publish(wanted, run, traceparent)
        log.info("job %s, run %s accepted", job.id, run)
        return wanted, run

    def _named(self, job_id: str, name: str | None, request: RunRequest, given: str | None) -> tuple[str, RunRequest]:
        """The run's name, taken for it for good, and what it stands for. A name that was taken by a call which then failed is
        taken up where it stands for the same. `given` is the webhook as the form says it. Raises RunExists, TooManyRuns. Blocks.
        """
        if name is None:
            taken = set(self._records.run_names(job_id))
            for run in (f"run-{number}" for number in range(2, MAX_NUMBERED + 2)):
                if run not in taken and _same(stands := self._records.request_run(job_id, run, request), request):
                    return run, stands
            raise TooManyRuns(f"Job {job_id} has {MAX_NUMBERED} numbered runs: give this one a name")
        if self._records.has_run(job_id, name) and self._records.run_request(job_id, name) is None:
            raise RunExists(f"Job {job_id} has a run {name}: give this one another name")
        stands = self._records.request_run(job_id, name, request)
        if given is None:  # the webhook of the first call stays: the one that is set for all may be another by now
            request = request.model_copy(update={"webhook_url": stands.webhook_url})
        if not _same(stands, request):
            raise RunExists(
                f"Job {job_id} was asked for a run {name} with other parameters: give this one another name"
            )
        return name, stands

    async def _publish(self, job: Job, run: str, traceparent: str) -> None:
        mark = Mark(state=MarkState.ACCEPTING, at=datetime.now(UTC))
        try:
            async with asyncio.timeout(self._limit):
                if await self._threads.run(self._begin, job, run, mark):
                    await self._publisher.accept(job, run, traceparent)
        except BaseException as error:
            await self._pledges.keep(self._undo(job.id, run, mark))
            if isinstance(error, TimeoutError):
                raise StoreUnavailable(f"The run could not be stored within {self._limit:g} s") from error
            raise

    def _begin(self, job: Job, run: str, mark: Mark) -> bool:
        """False where the run was accepted already. Raises JobNotFound. Blocks."""
        if not begin(self._records, job.id, run, mark):
            return False
        self._records.queue_first_webhook(job, run)
        return True

    async def _undo(self, job_id: str, run: str, mark: Mark) -> None:
        """Take the mark back, unless it is that of another call. Should the event have reached the broker all the
        same, the run turns up with what it was asked for: the name means nothing else.
        """
        try:
            await self._threads.run(self._records.give_up_run, job_id, run, mark)
        except TurnstreamError as error:
            log.warning("job %s, run %s was refused and its mark stays until the sweep: %s", job_id, run, error.detail)


def _same(stands: RunRequest, wanted: RunRequest) -> bool:
    """Whether a name that is taken stands for what is wanted under it."""
    return (stands.params, stands.webhook_url) == (wanted.params, wanted.webhook_url)

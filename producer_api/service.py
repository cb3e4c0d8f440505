"""What the routes stand on: everything that is opened when the service starts and given back when it stops."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from producer_api.backlog import Backlog
from producer_api.broker_watch import BrokerWatch
from producer_api.intake import Intake, is_job_id
from producer_api.metrics import Metrics
from producer_api.pledges import Pledges
from producer_api.probing import Prober
from producer_api.publishing import Publisher
from producer_api.rerun import Reruns
from producer_api.results import Results
from producer_api.spool import remove_old_spools
from producer_api.sweep import Sweeper
from producer_api.threads import Threads
from producer_api.webhooks.deliverer import Deliverer
from schemas.errors import ErrorInfo, JobNotFound, StoreUnavailable
from schemas.formats import JSON, Format, to_json
from schemas.jobs import LIVE_RUN, Job, JobRuns, JobState, JobView, Progress
from turnstream.bus.base import Bus
from turnstream.object_store.base import ObjectStore
from turnstream.operations import Operations, result_topics
from turnstream.records import Records
from turnstream.settings import Settings

log = logging.getLogger("turnstream.api")

RESTART_DELAY = 1.0
"""Seconds until a background task that failed is started again."""
CLOSE_LIMIT = 3.0
"""Seconds that what is being accepted has to come to its end when the service stops."""
STORE_CHECK_INTERVAL = 2.0


@dataclass
class Service:
    """One of these lies in the application's state while it runs."""

    settings: Settings
    bus: Bus
    records: Records
    threads: Threads
    watch: BrokerWatch
    intake: Intake
    reruns: Reruns
    results: Results
    sweeper: Sweeper
    backlog: Backlog
    operations: Operations
    metrics: Metrics
    deliverer: Deliverer | None
    """None where nothing could be signed: webhooks wait then."""
    _store_checked: float = float("-inf")
    _store_problem: StoreUnavailable | None = None
    _store_looking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def job(self, job_id: str, owner: str) -> Job:
        """A job of this owner. Raises JobNotFound, also for a job of somebody else and for what is no id at all."""
        if is_job_id(job_id):
            job = await self.threads.run(self.records.job, job_id)
            if job.owner == owner:
                return job
        raise JobNotFound(f"There is no job {job_id[:100]}")

    async def job_of_run(self, job_id: str, owner: str, run: str) -> Job:
        """A job of this owner as one of its runs computes it. Raises JobNotFound."""
        job = await self.job(job_id, owner)
        if run == LIVE_RUN:
            return job
        if not await self.threads.run(self.records.has_run, job.id, run):
            raise JobNotFound(f"Job {job.id} has no run {run}")
        return await self.threads.run(self.records.job_of_run, job.id, run)

    async def view(self, job: Job, run: str = LIVE_RUN) -> JobView:
        return await self.threads.run(self.look_at, job, run)

    async def view_with_place(self, job: Job, run: str) -> JobView:
        """The same, and how many are ahead of a queued run where the broker says so at once."""
        view = await self.view(job, run)
        if view.state is not JobState.QUEUED:
            return view
        try:
            mark = await self.threads.run(self.records.mark, job.id, run)
        except StoreUnavailable:
            return view  # all else is known
        return view.model_copy(update={"ahead": await self.backlog.ahead(mark, self.watch.topic_id)})

    def formats(self, job: Job) -> Mapping[str, Format]:
        """By name, those of the job's operation; JSON alone where that is not installed any more."""
        operation = self.operations.get(job.operation)
        return operation.formats if operation else {"json": JSON}

    def written(self, job: Job, body: bytes, format_: Format) -> str | bytes:
        """A stored result in one of its formats."""
        operation = self.operations.get(job.operation)
        if operation is None or format_.write is to_json:
            return body
        return format_.write(operation.result.model_validate_json(body))

    def look_at(self, job: Job, run: str = LIVE_RUN) -> JobView:
        """A run as the job's owner sees it now; `job` is the job as this run computes it. Blocks."""
        outcome = self.records.outcome(job.id, run)
        progress = self.results.progress(job.id, run) if outcome is None else None
        if progress is not None and self.records.waits_for_retry(job.id, run):
            progress = None  # it is that of the try which failed
        return self._seen(job, run, outcome, progress)

    def first_sight(self, job: Job) -> JobView:
        """A job as it is when it is accepted. A worker who was quicker than the answer will be seen the next time."""
        return self._seen(job, LIVE_RUN, None, None)

    def heard(self, job: Job, run: str) -> JobView | None:
        """A running job by its latest progress, without a look into the store; None where nothing was heard of it."""
        progress = self.results.progress(job.id, run)
        return self._seen(job, run, None, progress) if progress is not None else None

    @staticmethod
    def _seen(
        job: Job, run: str, outcome: tuple[JobState, ErrorInfo | None] | None, progress: Progress | None
    ) -> JobView:
        if outcome is not None:
            state, error = outcome
        else:
            state, error = (JobState.RUNNING if progress else JobState.QUEUED), None
        seen = {"run": run, "state": state, "progress": progress, "error": error}
        return JobView.model_validate(job.model_dump() | seen)

    def runs(self, job: Job) -> JobRuns:
        """All runs of a job, in the order in which they were asked for. Blocks."""
        names = self.records.run_names(job.id)
        views = [self.look_at(self.records.job_of_run(job.id, run), run) for run in names]
        return JobRuns(runs=sorted(views, key=lambda view: view.created_at))

    async def store_problem(self) -> StoreUnavailable | None:
        """Why the object store cannot be written; asked of it at most every STORE_CHECK_INTERVAL, by one caller at a time:
        anybody may ask, and a store that hangs must not take a thread for each.
        """
        async with self._store_looking:
            if time.monotonic() - self._store_checked > STORE_CHECK_INTERVAL:
                try:
                    await self.threads.run(self.records.store.check)
                    self._store_problem = None
                except StoreUnavailable as error:
                    self._store_problem = error
                self._store_checked = time.monotonic()
            return self._store_problem


@asynccontextmanager
async def running(
    settings: Settings, store: ObjectStore, bus: Bus, prober: Prober, operations: Operations, metrics: Metrics
) -> AsyncGenerator[Service]:
    """The service with all it does in the background. Raises LayoutMismatch where the topics are laid out differently."""
    async with AsyncExitStack() as stack:
        threads = Threads()
        stack.callback(threads.close)
        stack.callback(store.close)
        await bus.start()
        stack.push_async_callback(bus.close)
        prober.start()
        stack.push_async_callback(threads.run, prober.close)
        await threads.run(remove_old_spools, settings.spool_dir)

        records = Records(store)
        watch = BrokerWatch(bus, records, threads, partition_groups=settings.partition_groups, operations=operations)
        await _refuse_another_layout(watch)
        publisher = Publisher(bus, records, watch, threads, metrics)
        pledges = Pledges()
        sweeper = Sweeper(settings, bus, records, publisher, watch, threads, metrics)
        watch.on_new_topics += (sweeper.wake, lambda: metrics.found_topics(watch.topic_id))
        service = Service(
            settings=settings,
            bus=bus,
            records=records,
            threads=threads,
            watch=watch,
            intake=Intake(settings, records, publisher, watch, prober, threads, pledges),
            reruns=Reruns(settings, records, publisher, watch, threads, pledges, operations),
            results=Results(bus, records, threads),
            sweeper=sweeper,
            backlog=Backlog(bus, settings.consumer_group),
            operations=operations,
            metrics=metrics,
            deliverer=_deliverer(settings, records, operations, metrics),
        )
        stack.push_async_callback(service.backlog.close)
        stack.push_async_callback(sweeper.close)
        readers = [partial(service.results.read_results, topic) for topic in result_topics(operations)]
        background = [watch.run, *readers, service.results.read_progress, sweeper.run]
        if service.deliverer is not None:
            stack.push_async_callback(service.deliverer.close, CLOSE_LIMIT)
            service.results.on_end.append(service.deliverer.ended)
            background.append(service.deliverer.run)
        for work in background:
            task = asyncio.create_task(_for_ever(work))
            stack.push_async_callback(_stop, task)
        stack.push_async_callback(pledges.close, CLOSE_LIMIT)
        stack.callback(service.results.release)
        _ask(service)
        yield service


def _deliverer(settings: Settings, records: Records, operations: Operations, metrics: Metrics) -> Deliverer | None:
    return Deliverer(settings, records, operations, metrics) if settings.webhook_secrets else None


def _ask(service: Service) -> None:
    """What the metrics are asked for at each scrape."""
    ask, results, watch = service.metrics.ask, service.results, service.watch
    ask("turnstream_callers_waiting", "Calls that wait for a result", lambda: results.waiting)
    ask("turnstream_event_streams", "Streams of events that are open", lambda: results.streaming)
    ask("turnstream_broker_ready", "1 while the broker answers and the topics are there", lambda: not watch.problem)


async def _refuse_another_layout(watch: BrokerWatch) -> None:
    try:
        await watch.agree()
    except StoreUnavailable as error:  # the watch asks again
        log.warning("the object store does not answer yet: %s", error.detail)


async def _for_ever(work: Callable[[], Awaitable[None]]) -> None:
    """A background task that fails is said to and started again: the service is not left half alive."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("%s failed and is started again", work)
        await asyncio.sleep(RESTART_DELAY)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


# Not blocking, so not in a thread each, where FastAPI calls what is not async.


async def _service(request: Request) -> Service:
    return cast(Service, request.app.state.service)


async def _owner(request: Request) -> str:
    return cast(str, request.state.owner)


TheService = Annotated[Service, Depends(_service)]
Owner = Annotated[str, Depends(_owner)]

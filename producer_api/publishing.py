"""How a run of a job comes onto `gpu-jobs`, and how its mark says so."""

from producer_api.broker_watch import BrokerWatch
from producer_api.metrics import Metrics
from producer_api.threads import Threads
from schemas.errors import BrokerUnavailable, InvalidRequest
from schemas.jobs import Job
from schemas.topics import JOB_EVENT_LIMIT
from turnstream import points
from turnstream.bus.base import Bus
from turnstream.publishing import publish_job, requested
from turnstream.records import Mark, Records

SOURCE = "/turnstream/producer-api"


class Publisher:
    """Each call returns once the broker has the job event and the mark says where.

    Raises BrokerUnavailable, StoreUnavailable, LayoutMismatch.
    """

    def __init__(self, bus: Bus, records: Records, watch: BrokerWatch, threads: Threads, metrics: Metrics) -> None:
        self._bus = bus
        self._records = records
        self._watch = watch
        self._threads = threads
        self._metrics = metrics

    async def accept(self, job: Job, run: str, traceparent: str) -> None:
        """For a run whose caller waits to hear that it is safe."""
        topic_id = self._watch.topic_id
        if topic_id is None:
            raise BrokerUnavailable("The topics are not there yet")
        layout = self._watch.require_layout()
        mark = await publish_job(self._bus, layout, job, run, topic_id=topic_id, source=SOURCE, traceparent=traceparent)
        points.passing("intake.published")
        self._metrics.published(job, "call")
        await self._threads.run(self._records.note_published, job.id, run, mark)
        points.passing("intake.queued")
        # Made anew meanwhile: the sweep after it may have come before our mark.
        if self._watch.topic_id != topic_id:
            self._watch.announce()

    async def republish(self, job: Job, run: str, topic_id: str, lost: Mark) -> None:
        """For a run that was lost on its way, after this mark of it was put.

        `topic_id` is the incarnation of the topic as it was known before.
        """
        layout = self._watch.require_layout()
        mark = await publish_job(self._bus, layout, job, run, topic_id=topic_id, source=SOURCE, lost=lost)
        points.passing("sweep.published")
        self._metrics.published(job, "sweep")
        await self._threads.run(self._records.note_published, job.id, run, mark, lost)


def require_size(job: Job, run: str) -> None:
    """Raises InvalidRequest where the parameters are more than a job event may carry."""
    size = len(requested(job, run).model_dump_json(exclude_none=True).encode())
    if size > JOB_EVENT_LIMIT:
        raise InvalidRequest(f"The parameters are too large: the job event has {size} bytes, {JOB_EVENT_LIMIT} at most")

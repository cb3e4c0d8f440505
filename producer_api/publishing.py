"""How a run of a job comes onto `gpu-jobs`, and how its mark says so."""

from datetime import UTC, datetime

from producer_api.broker_watch import BrokerWatch
from producer_api.threads import Threads
from schemas.errors import BrokerUnavailable, InvalidRequest
from schemas.events import JOB_REQUESTED, Event, event_id
from schemas.jobs import Job, JobRequested
from schemas.topics import JOB_EVENT_LIMIT, Topic
from turnstream.bus.base import Bus
from turnstream.records import Mark, MarkState, Records

SOURCE = "/turnstream/producer-api"


class Publisher:
    def __init__(self, bus: Bus, records: Records, watch: BrokerWatch, threads: Threads) -> None:
        self._bus = bus
        self._records = records
        self._watch = watch
        self._threads = threads

    async def publish(self, job: Job, run: str, topic_id: str | None, traceparent: str | None = None) -> None:
        """Returns once the broker has the job event and the mark says where.

        Raises BrokerUnavailable, StoreUnavailable, LayoutMismatch.

        `topic_id` is the incarnation of the topic as it was known before: should the broker lose everything meanwhile, the
        mark names the one that is gone, and the sweep publishes again.
        """
        if topic_id is None:
            raise BrokerUnavailable("The topics are not there yet")
        layout = self._watch.require_layout()
        event = Event.of(
            JOB_REQUESTED,
            SOURCE,
            subject=job.id,
            id_=event_id(job.id, run),
            data=requested(job, run),
            traceparent=traceparent,
        )
        position = await self._bus.publish(
            Topic.JOBS,
            key=event.key,
            value=event.data,
            headers=event.headers,
            partition=layout.partition(job.id, job.operation, job.lane),
        )
        mark = Mark(
            state=MarkState.QUEUED,
            at=datetime.now(UTC),
            topic_id=topic_id,
            partition=position.partition,
            offset=position.offset,
        )
        await self._threads.run(self._records.put_mark, job.id, run, mark)

    async def accept(self, job: Job, run: str, traceparent: str) -> None:
        """The same for a run whose caller waits to hear that it is safe."""
        topic_id = self._watch.topic_id
        await self.publish(job, run, topic_id, traceparent)
        # Made anew meanwhile: the sweep after it may have come before our mark.
        if self._watch.topic_id != topic_id:
            self._watch.announce()
        # A worker that was quicker than we are has removed the mark before we wrote it.
        if await self._threads.run(self._records.ended, job.id, run):
            await self._threads.run(self._records.remove_mark, job.id, run)


def require_size(job: Job, run: str) -> None:
    """Raises InvalidRequest where the parameters are more than a job event may carry."""
    size = len(requested(job, run).model_dump_json(exclude_none=True).encode())
    if size > JOB_EVENT_LIMIT:
        raise InvalidRequest(f"The parameters are too large: the job event has {size} bytes, {JOB_EVENT_LIMIT} at most")


def requested(job: Job, run: str) -> JobRequested:
    return JobRequested.model_validate(job.model_dump() | {"job_id": job.id, "run": run})

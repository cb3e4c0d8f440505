"""How a run of a job is asked for on `gpu-jobs`."""

from schemas.events import JOB_REQUESTED, Event, event_id
from schemas.jobs import Job, JobRequested
from schemas.topics import Layout, Topic
from turnstream.bus.base import Bus
from turnstream.records import Mark


async def publish_job(
    bus: Bus,
    layout: Layout,
    job: Job,
    run: str,
    *,
    topic_id: str,
    source: str,
    traceparent: str | None = None,
    retries: int = 0,
) -> Mark:
    """Returns once the broker has the job event: the mark that says where. Raises BrokerUnavailable.

    `retries`: how often the run was tried again before it was lost.

    `topic_id` is the incarnation of the topic as it was known before: should the broker lose everything meanwhile, the
    mark names the one that is gone, and the sweep publishes again.
    """
    event = Event.of(JOB_REQUESTED, source, job.id, event_id(job.id, run), requested(job, run), traceparent)
    position = await bus.publish(
        Topic.JOBS,
        key=event.key,
        value=event.data,
        headers=(*event.headers, ("attempt", b"%d" % retries)) if retries else event.headers,
        partition=layout.partition(job.id, job.operation, job.lane),
    )
    return Mark.queued(position.topic, topic_id, position.partition, position.offset, retries)


def requested(job: Job, run: str) -> JobRequested:
    return JobRequested.model_validate(job.model_dump() | {"job_id": job.id, "run": run})

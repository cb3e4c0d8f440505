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
    lost: Mark | None = None,
) -> Mark:
    """Returns once the broker has the job event: the mark that says where. Raises BrokerUnavailable.

    `lost`: the mark of a run that was lost on its way after so many retries: it gets those that are left.

    `topic_id` is the incarnation of the topic as it was known before: should the broker lose everything meanwhile, the
    mark names the one that is gone, and the sweep publishes again.
    """
    event = Event.of(JOB_REQUESTED, source, job.id, event_id(job.id, run), requested(job, run), traceparent)
    retries = lost.attempt if lost else 0
    position = await bus.publish(
        Topic.JOBS,
        key=event.key,
        value=event.data,
        headers=(*event.headers, ("attempt", b"%d" % retries)) if retries else event.headers,
        partition=_partition(layout, job, topic_id, lost),
    )
    return Mark.queued(position.topic, topic_id, position.partition, position.offset, retries)


def _partition(layout: Layout, job: Job, topic_id: str, lost: Mark | None) -> int:
    """Where its run was before, if that still is a partition for such jobs: the layout may have grown since, and whoever reads
    that partition tells of several copies of a run only once.
    """
    partition = layout.partition(job.id, job.operation, job.lane)
    if lost is None or lost.partition is None or (lost.topic, lost.topic_id) != (Topic.JOBS, topic_id):
        return partition
    same_slot = lost.partition % layout.slots == partition % layout.slots
    return lost.partition if same_slot and lost.partition < layout.groups * layout.slots else partition


def requested(job: Job, run: str) -> JobRequested:
    return JobRequested.model_validate(job.model_dump() | {"job_id": job.id, "run": run})

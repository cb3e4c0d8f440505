"""To which partition a run goes that was lost on its way."""

import pytest

from schemas.topics import SLOTS, Layout, Topic
from tests.support.worker import new_job
from turnstream.bus.memory import MemoryBus
from turnstream.publishing import publish_job
from turnstream.records import Mark

BEFORE = Layout(groups=1).including(["diarize", "transcribe"])
GROWN = BEFORE.model_copy(update={"groups": 3})
JOB = next(job for job in iter(new_job, None) if GROWN.partition(job.id, job.operation, job.lane) >= SLOTS)
OLD, NEW = (layout.partition(JOB.id, JOB.operation, JOB.lane) for layout in (BEFORE, GROWN))


def lay(partition: int | None, topic_id: str = "now", topic: str = Topic.JOBS) -> Mark:
    return Mark.queued(topic, topic_id, OLD, 5, 2).model_copy(update={"partition": partition})


@pytest.mark.parametrize(
    "lost, goes_to",
    [
        (None, NEW),
        (lay(OLD), OLD),  # its copies are told once there
        (lay(NEW), NEW),
        (lay(OLD, topic_id="before"), NEW),
        (lay(OLD, topic=Topic.JOBS_RETRY), NEW),
        (lay(OLD + 1), NEW),  # of another operation or lane
        (lay(OLD + 3 * SLOTS), NEW),  # beyond what there is
        (lay(None), NEW),
    ],
)
async def test_a_run_that_was_lost_goes_where_it_was_if_that_is_still_a_place_for_it(lost: Mark | None, goes_to: int):
    bus = MemoryBus()
    await bus.ensure_topics(GROWN.topics())
    mark = await publish_job(bus, GROWN, JOB, "live", topic_id="now", source="test", lost=lost)
    assert (mark.topic, mark.partition, mark.attempt) == (Topic.JOBS, goes_to, 2 if lost else 0)
    assert [record.position.partition for record in bus.records(Topic.JOBS)] == [goes_to]

"""The topics and which partition a job goes to."""

import zlib
from enum import StrEnum

from pydantic import Field

from schemas.base import Value
from schemas.jobs import Lane, Operation


class Topic(StrEnum):
    JOBS = "gpu-jobs"
    JOBS_RETRY = "gpu-jobs.retry"
    JOBS_DLQ = "gpu-jobs.dlq"
    DIARIZATION_RESULTS = "diarization-results"
    TRANSCRIPTION_RESULTS = "transcription-results"
    JOB_PROGRESS = "job-progress"
    JOB_CONTROL = "job-control"


class TopicSpec(Value):
    name: Topic
    partitions: int = Field(ge=1)
    max_message_bytes: int = 1 << 20


JOB_EVENT_LIMIT = 256 << 10
"""Bytes a job event may have at most."""
DEAD_LETTER_LIMIT = 8 << 20
"""Bytes of a record that the dead letter topic still takes as it came."""
SLOTS = 13
"""S of the layout: fixed and prime, so that K * S spreads evenly over any number of workers."""


class Layout(Value):
    """How jobs spread over the partitions of `gpu-jobs`: `(hash(job id) % K) * S + slot(operation, lane)`.

    Kept as an object; a process with another layout refuses to start. K grows by appending partitions: no slot moves.
    """

    slots: int = SLOTS
    groups: int = Field(default=1, ge=1, le=1024, description="K")
    results: int = Field(default=4, ge=1, description="partitions of each result topic")
    slot: dict[str, int] = Field(
        default_factory=lambda: {
            f"{Operation.DIARIZE}/{Lane.INTERACTIVE}": 0,
            f"{Operation.DIARIZE}/{Lane.BATCH}": 1,
        }
    )

    def partition(self, job_id: str, operation: Operation, lane: Lane) -> int:
        group = zlib.crc32(job_id.encode()) % self.groups
        return group * self.slots + self.slot[f"{operation}/{lane}"]

    def result_partition(self, job_id: str) -> int:
        return zlib.crc32(job_id.encode()) % self.results

    def topics(self) -> tuple[TopicSpec, ...]:
        return (
            TopicSpec(name=Topic.JOBS, partitions=self.groups * self.slots),
            TopicSpec(name=Topic.JOBS_RETRY, partitions=3),
            TopicSpec(name=Topic.JOBS_DLQ, partitions=1, max_message_bytes=DEAD_LETTER_LIMIT + (1 << 20)),
            TopicSpec(name=Topic.DIARIZATION_RESULTS, partitions=self.results),
            TopicSpec(name=Topic.TRANSCRIPTION_RESULTS, partitions=self.results),
            TopicSpec(name=Topic.JOB_PROGRESS, partitions=1),
            TopicSpec(name=Topic.JOB_CONTROL, partitions=1),
        )

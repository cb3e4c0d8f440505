"""The topics and which partition a job goes to."""

import zlib
from collections.abc import Iterable
from enum import StrEnum
from typing import Self

from pydantic import Field

from schemas.base import Value
from schemas.errors import LayoutMismatch
from schemas.jobs import Lane


class Topic(StrEnum):
    JOBS = "gpu-jobs"
    JOBS_RETRY = "gpu-jobs.retry"
    JOBS_DLQ = "gpu-jobs.dlq"
    DIARIZATION_RESULTS = "diarization-results"
    TRANSCRIPTION_RESULTS = "transcription-results"
    JOB_PROGRESS = "job-progress"
    JOB_CONTROL = "job-control"


class TopicSpec(Value):
    name: str
    partitions: int = Field(ge=1)
    max_message_bytes: int = 1 << 20


JOB_EVENT_LIMIT = 256 << 10
"""Bytes a job event may have at most."""
HEADERS_LIMIT = 256 << 10
"""Bytes its key and headers may have at most, and those that a dead letter keeps: so all of it fits, with what is added."""
DEAD_LETTER_LIMIT = 8 << 20
"""Bytes of a record that the dead letter topic still takes as it came."""
SLOTS = 13
"""S of the layout: fixed and prime, so that K * S spreads evenly over any number of workers."""


class Layout(Value):
    """How jobs spread over the partitions of `gpu-jobs`: `(hash(job id) % K) * S + slot(operation, lane)`.

    Kept as an object; a process with another layout refuses to start. K grows by appending partitions, an operation is added
    by taking slots that are free: no slot ever moves, so what lies in a partition stays where it is. The operation of a job is
    read from its event, never from the partition.
    """

    slots: int = SLOTS
    groups: int = Field(default=1, ge=1, le=1024, description="K")
    results: int = Field(default=4, ge=1, description="partitions of each result topic")
    slot: dict[str, int] = Field(default_factory=dict, description="by operation/lane")

    def including(self, operations: Iterable[str]) -> Self:
        """The layout with slots for these operations, too. Raises LayoutMismatch where none are left."""
        slot = dict(self.slot)
        for operation in operations:
            for lane in Lane:
                slot.setdefault(_place(operation, lane), len(slot))
        if len(slot) > self.slots:
            raise LayoutMismatch(f"{self.slots} slots do not suffice for {', '.join(slot)}")
        return self.model_copy(update={"slot": slot})

    def partition(self, job_id: str, operation: str, lane: Lane) -> int:
        group = zlib.crc32(job_id.encode()) % self.groups
        return group * self.slots + self.slot[_place(operation, lane)]

    def place(self, partition: int) -> tuple[str, str] | None:
        """The operation and the lane of what lies in a partition of `gpu-jobs`; None for one that is not in use."""
        for place, slot in self.slot.items():
            if slot == partition % self.slots:
                operation, _, lane = place.rpartition("/")
                return operation, lane
        return None

    def result_partition(self, job_id: str) -> int:
        return zlib.crc32(job_id.encode()) % self.results

    def topics(self, result_topics: Iterable[str] = ()) -> tuple[TopicSpec, ...]:
        """All topics; `result_topics` are those of the operations that are installed."""
        results = dict.fromkeys((str(Topic.DIARIZATION_RESULTS), str(Topic.TRANSCRIPTION_RESULTS), *result_topics))
        return (
            TopicSpec(name=Topic.JOBS, partitions=self.groups * self.slots),
            TopicSpec(name=Topic.JOBS_RETRY, partitions=3),
            TopicSpec(name=Topic.JOBS_DLQ, partitions=1, max_message_bytes=DEAD_LETTER_LIMIT + (1 << 20)),
            *(TopicSpec(name=name, partitions=self.results) for name in results),
            TopicSpec(name=Topic.JOB_PROGRESS, partitions=1),
            TopicSpec(name=Topic.JOB_CONTROL, partitions=1),
        )


def _place(operation: str, lane: Lane) -> str:
    return f"{operation}/{lane}"

"""The marks of the runs that have not ended: what the sweep looks through."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Self

from pydantic import AwareDatetime

from schemas.base import Value
from schemas.topics import Topic
from turnstream.object_store.base import ObjectNotFound, exists
from turnstream.records.objects import Damaged, Objects

log = logging.getLogger("turnstream.records")


class MarkState(StrEnum):
    ACCEPTING = "accepting"
    """The submission is on its way; the caller has no answer yet."""
    QUEUED = "queued"
    """The broker acknowledged the job event; it lies where the mark says."""
    ERASING = "erasing"
    """The job is being erased, with all its runs."""


ERASURE = "~erase"
"""Where the mark of an erasure lies among those of the runs: no run can have this name."""


class Mark(Value):
    """The mark of a pending run."""

    state: MarkState
    at: AwareDatetime
    topic: str = str(Topic.JOBS)
    """`gpu-jobs`, or `gpu-jobs.retry` while the run waits for its next try."""
    topic_id: str | None = None
    partition: int | None = None
    offset: int | None = None
    attempt: int = 0
    """Retries so far."""
    group: str | None = None
    """Of the workers it waits for, where these are not the live ones."""
    claim: str | None = None
    """Of a submission: the claim on an Idempotency-Key under which it is made."""

    @classmethod
    def queued(cls, topic: str, topic_id: str | None, partition: int, offset: int, attempt: int) -> Self:
        """Of a run whose event lies there from now on."""
        return cls(
            state=MarkState.QUEUED,
            at=datetime.now(UTC),
            topic=topic,
            topic_id=topic_id,
            partition=partition,
            offset=offset,
            attempt=attempt,
        )


def mark_key(job_id: str, run: str) -> str:
    return f"pending/{job_id}/{run}"


class Marks(Objects):
    def put_mark(self, job_id: str, run: str, mark: Mark) -> None:
        self._put(mark_key(job_id, run), mark)

    def put_first_mark(self, job_id: str, run: str, mark: Mark) -> bool:
        """False where the run has a mark already, which stays."""
        return self._put_once(mark_key(job_id, run), mark)

    def mark(self, job_id: str, run: str) -> Mark | None:
        try:
            return self._get(mark_key(job_id, run), Mark)
        except ObjectNotFound:
            return None

    def marked_runs(self, job_id: str) -> list[str]:
        """Those of a job that have a mark, readable or not."""
        prefix = mark_key(job_id, "")
        runs = [info.key.removeprefix(prefix) for info in self.store.list(prefix)]
        return [run for run in runs if run != ERASURE]

    def is_pending(self, job_id: str, run: str) -> bool:
        """Whether the run has a mark, readable or not."""
        return exists(self.store, mark_key(job_id, run))

    def waits_for_retry(self, job_id: str, run: str) -> bool:
        """Whether the run's last try failed, and the next one is not due yet."""
        try:
            mark = self.mark(job_id, run)
        except Damaged:
            return False
        return mark is not None and mark.topic == Topic.JOBS_RETRY

    def remove_mark(self, job_id: str, run: str) -> None:
        self.store.delete(mark_key(job_id, run))

    def pending(self) -> Iterator[tuple[str, str, Mark]]:
        """(job id, run, mark) of every run that has not ended, oldest first; and of every erasure, its run being ERASURE."""
        for info in self.store.list("pending/"):
            _, job_id, run = info.key.split("/", 2)
            try:
                mark = self.mark(job_id, run)
            except Damaged as error:
                log.error("left as it is: %s", error.detail)
                continue
            if mark is not None:  # else its run ended meanwhile
                yield job_id, run, mark

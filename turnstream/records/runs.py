"""The runs of a job, each one computation of it: what was asked, how often it was tried, what its stages found."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import AwareDatetime, RootModel

from schemas.base import Value
from schemas.jobs import LIVE_RUN, Job, Lane, Params
from turnstream.object_store.base import ObjectExists, ObjectNotFound
from turnstream.records.endings import Endings, run_key, runs_prefix
from turnstream.records.marks import Mark, Marks, MarkState
from turnstream.records.objects import Damaged


class RunRequest(Value):
    """What a run was asked for that is not the first of its job."""

    params: Params
    created_at: AwareDatetime
    lane: Lane | None = None
    """Where it is another than that of the job."""
    webhook_url: str | None = None
    """Where its end is told by a webhook: never by that of the job, which is for its first run."""

    def applied_to(self, job: Job) -> Job:
        """The job as this run computes it."""
        return job.model_copy(
            update={
                "params": self.params,
                "created_at": self.created_at,
                "lane": self.lane or job.lane,
                "webhook_url": self.webhook_url,
            }
        )


class Attempts(Value):
    """How often a stage of a run was opened, and who has it open."""

    count: int = 0
    stage: str | None = None
    """By its model. Tries of another stage, or before the last retry, do not count."""
    retries: int = 0
    worker: str | None = None
    """`<instance>/<incarnation>` of the worker that holds the lease; None where nobody does."""
    until: AwareDatetime | None = None
    """When the lease ends unless it is renewed: its worker is dead then."""

    def of(self, stage: str, retries: int) -> int:
        """The count, of this stage after so many retries."""
        return self.count if self.stage in {None, stage} and self.retries == retries else 0

    def leased(self, instance: str, now: datetime) -> bool:
        """Whether a worker of another instance is at it. A former incarnation of our own is dead, as we have its place."""
        if self.worker is None or self.until is None:
            return False
        return self.until > now and self.worker.rpartition("/")[0] != instance


class StageFields(RootModel[dict[str, Any]]):
    """The fields of a result that is not the run's own."""


def _stage_key(job_id: str, run: str, name: str) -> str:
    return run_key(job_id, run, f"stages/{name}")


class Runs(Marks, Endings):
    def note_published(self, job_id: str, run: str, mark: Mark, lost: Mark | None = None) -> None:
        """Say where the event of a run lies, in place of the mark of its submission, or of `lost`. Workers may be quicker: where
        one has moved the event meanwhile its mark stays, and where one has told the end, and removed the mark, none is put.
        """
        found = self.mark(job_id, run)
        if found is not None and (found.state is not MarkState.QUEUED or found == lost):
            self.put_mark(job_id, run, mark)

    def was_accepted(self, job_id: str, run: str) -> bool:
        """Whether the event of a run reached the broker, as its mark says, or its end: a worker may be quicker than the mark."""
        mark = self.mark(job_id, run)
        return (mark is not None and mark.state is MarkState.QUEUED) or self.ended(job_id, run)

    def clear_run(self, job_id: str, run: str) -> None:
        """The end of a run was told: what only a pending run needs goes."""
        self.forget_stages(job_id, run)
        self.remove_mark(job_id, run)

    # What was asked

    def request_run(self, job_id: str, run: str, request: RunRequest) -> RunRequest:
        """Take a name for a run, for as long as the job is there: returns what it stands for, which is another request where
        somebody was quicker.
        """
        try:
            self._put(run_key(job_id, run, "request"), request, if_absent=True)
        except ObjectExists:
            return self.run_request(job_id, run) or request  # which is erased just now
        return request

    def run_request(self, job_id: str, run: str) -> RunRequest | None:
        """None for the first run: it does what the job says."""
        try:
            return self._get(run_key(job_id, run, "request"), RunRequest)
        except ObjectNotFound:
            return None

    def has_run(self, job_id: str, run: str) -> bool:
        """A run is known by its mark, or by its end; the first one by its job."""
        return run == LIVE_RUN or self.is_pending(job_id, run) or self.ended(job_id, run)

    def run_names(self, job_id: str) -> list[str]:
        """Of all that are known, the first one first."""
        prefix = runs_prefix(job_id)
        found = {info.key.removeprefix(prefix).partition("/")[0] for info in self.store.list(prefix)}
        found.update(self.marked_runs(job_id))
        return [LIVE_RUN, *sorted(run for run in found - {LIVE_RUN} if self.has_run(job_id, run))]

    def names(self, job_id: str, run: str) -> frozenset[str]:
        """Which objects a run has, by their names, such as `ended` or `stages/diarize`: one look instead of several."""
        prefix = f"{runs_prefix(job_id)}{run}/"
        return frozenset(info.key.removeprefix(prefix).removesuffix(".json") for info in self.store.list(prefix))

    # Attempts

    def attempts(self, job_id: str, run: str) -> Attempts:
        """Those that nobody can read count as none."""
        try:
            return self._get(run_key(job_id, run, "attempts"), Attempts)
        except (ObjectNotFound, Damaged):
            return Attempts()

    def put_attempts(self, job_id: str, run: str, attempts: Attempts) -> None:
        self._put(run_key(job_id, run, "attempts"), attempts)

    # Stages

    def stage(self, job_id: str, run: str, name: str) -> dict[str, Any] | None:
        """What a stage of a run found, if it is done and can be read."""
        try:
            return self._get(_stage_key(job_id, run, name), StageFields).root
        except (ObjectNotFound, Damaged):
            return None

    def put_stage(self, job_id: str, run: str, name: str, found: Mapping[str, Any]) -> None:
        self._put_once(_stage_key(job_id, run, name), StageFields(dict(found)))

    def forget_stages(self, job_id: str, run: str) -> None:
        """The run has its end: it holds all that its stages found."""
        self.store.delete_prefix(_stage_key(job_id, run, "").removesuffix(".json"))

"""How a run ended. It has one ending, whatever races: the object that names it is created once, and nothing overrules it."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import AwareDatetime, BaseModel

from schemas.base import Value
from schemas.errors import ErrorInfo
from schemas.jobs import JobState
from schemas.results import ObjectRef
from turnstream import points
from turnstream.object_store.base import ObjectExists, ObjectNotFound, exists
from turnstream.records.objects import Objects, written

CANCELLED = ErrorInfo(code="job_cancelled", detail="The job was cancelled")
ENDING_NAMES = {JobState.SUCCEEDED: "result", JobState.FAILED: "error", JobState.CANCELLED: "cancelled"}
"""Of the object that says how a run ended."""


class Ended(Value):
    """The claim on a run's end: whoever stores it first says how the run ended."""

    state: JobState
    at: AwareDatetime
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended. `body` is the stored JSON; `error` is set for a failed or cancelled run."""

    state: JobState
    key: str
    body: bytes
    error: ErrorInfo | None = None


def runs_prefix(job_id: str) -> str:
    return f"jobs/{job_id}/runs/"


def run_key(job_id: str, run: str, name: str) -> str:
    return f"{runs_prefix(job_id)}{run}/{name}.json"


def _ending_key(job_id: str, run: str, state: JobState) -> str:
    return run_key(job_id, run, ENDING_NAMES[state])


class Endings(Objects):
    def put_result(self, job_id: str, run: str, result: BaseModel) -> Ending | None:
        """Store a result unless the run has one: the first stays. None where the run has ended otherwise.

        The result comes before the claim, so that a claim that says succeeded has one.
        """
        key, body = _ending_key(job_id, run, JobState.SUCCEEDED), written(result)
        try:
            self.store.put(key, body, if_absent=True)
            ours = True
        except ObjectExists:
            ours = False
        points.passing("delivery.stored")
        if not self._adopt_result(job_id, run):
            return None
        return Ending(JobState.SUCCEEDED, key, body) if ours else self.ending(job_id, run)

    def adopt_result(self, job_id: str, run: str) -> bool:
        """Claim the end with a result that somebody stored and did not live to claim with. False where there is none."""
        return exists(self.store, _ending_key(job_id, run, JobState.SUCCEEDED)) and self._adopt_result(job_id, run)

    def put_error(self, job_id: str, run: str, error: ErrorInfo) -> Ending | None:
        """None where the run has ended otherwise."""
        return self._put_failure(job_id, run, JobState.FAILED, error)

    def put_cancelled(self, job_id: str, run: str) -> Ending | None:
        """None where the run has ended otherwise."""
        return self._put_failure(job_id, run, JobState.CANCELLED, CANCELLED)

    def complete_ending(self, job_id: str, run: str) -> None:
        """Store what is missing of an ending whose claimant died before it was whole."""
        ended = self._ended(job_id, run)
        if ended is not None and ended.error is not None:
            self._put_once(_ending_key(job_id, run, ended.state), ended.error)

    def ending(self, job_id: str, run: str) -> Ending | None:
        ended = self._ended(job_id, run)
        if ended is None:
            return None
        key = _ending_key(job_id, run, ended.state)
        if ended.error is not None:
            return Ending(ended.state, key, written(ended.error), ended.error)
        try:
            return Ending(ended.state, key, self.store.get(key))
        except ObjectNotFound:  # the job is being erased
            return None

    def outcome(self, job_id: str, run: str) -> tuple[JobState, ErrorInfo | None] | None:
        """How a run ended, like `ending` but without reading its result."""
        ended = self._ended(job_id, run)
        return (ended.state, ended.error) if ended else None

    def ended_at(self, job_id: str, run: str) -> datetime | None:
        """None where the run has not ended."""
        ended = self._ended(job_id, run)
        return ended.at if ended else None

    def ended(self, job_id: str, run: str) -> bool:
        return exists(self.store, run_key(job_id, run, "ended"))

    def _adopt_result(self, job_id: str, run: str) -> bool:
        ended = self._claim(job_id, run, Ended(state=JobState.SUCCEEDED, at=datetime.now(UTC)))
        if ended.state is not JobState.SUCCEEDED:
            self.store.delete(_ending_key(job_id, run, JobState.SUCCEEDED))
        return ended.state is JobState.SUCCEEDED

    def _put_failure(self, job_id: str, run: str, state: JobState, error: ErrorInfo) -> Ending | None:
        ended = self._claim(job_id, run, Ended(state=state, at=datetime.now(UTC), error=error))
        if ended.state is not state or ended.error is None:
            return None
        key = _ending_key(job_id, run, state)
        self._put_once(key, ended.error)
        # Of somebody who was slower, and died before he could remove it himself.
        self.store.delete(_ending_key(job_id, run, JobState.SUCCEEDED))
        return Ending(state, key, written(ended.error), ended.error)

    def _claim(self, job_id: str, run: str, ours: Ended) -> Ended:
        """The claim that holds: ours, or that of whoever was quicker."""
        try:
            self._put(run_key(job_id, run, "ended"), ours, if_absent=True)
        except ObjectExists:
            return self._ended(job_id, run) or ours  # which is erased just now
        return ours

    def _ended(self, job_id: str, run: str) -> Ended | None:
        try:
            return self._get(run_key(job_id, run, "ended"), Ended)
        except ObjectNotFound:
            return None


def reference(ending: Ending) -> ObjectRef:
    """Where a stored result lies, for an event that cannot carry it."""
    return ObjectRef(key=ending.key, sha256=hashlib.sha256(ending.body).hexdigest(), size=len(ending.body))

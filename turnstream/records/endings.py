"""How a run ended. It has one ending, whatever races: the object that names it is created once, and nothing overrules it."""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from pydantic import AwareDatetime, BaseModel

from schemas.base import Value
from schemas.errors import ErrorInfo
from schemas.jobs import JobState
from schemas.results import ObjectRef
from turnstream import points
from turnstream.object_store.base import ObjectExists, ObjectNotFound, exists
from turnstream.records.objects import Damaged, Objects, written

CANCELLED = ErrorInfo(code="job_cancelled", detail="The job was cancelled")
ENDING_NAMES = {JobState.SUCCEEDED: "result", JobState.FAILED: "error", JobState.CANCELLED: "cancelled"}
"""Of the object that says how a run ended."""


class Witness(Value):
    """A record of the run that nothing but the telling of its end settles any more: once it is settled, the end was told."""

    topic: str
    topic_id: str
    partition: int
    offset: int
    attempt: int = 0
    """Retries before it; a later one may settle it as well."""

    @classmethod
    def at(cls, topic: str, topic_id: str, partition: int, offset: int, attempt: int) -> Self:
        return cls(topic=topic, topic_id=topic_id, partition=partition, offset=offset, attempt=attempt)

    @property
    def name(self) -> str:
        topic_id = self.topic_id.replace("/", "_")  # base64, and part of a key
        return f"{self.topic}-{topic_id}-{self.partition}-{self.offset}-{self.attempt}"


Witnesses = tuple[Witness, ...]


class Ended(Value):
    """The claim on a run's end: whoever stores it first says how the run ended."""

    state: JobState
    at: AwareDatetime
    error: ErrorInfo | None = None
    witnesses: Witnesses = ()
    """Of whoever stored it, and was about to tell it."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended. `body` is the stored JSON; `error` is set for a failed or cancelled run."""

    state: JobState
    key: str
    body: bytes
    error: ErrorInfo | None = None
    witnesses: Witnesses = ()


def runs_prefix(job_id: str) -> str:
    return f"jobs/{job_id}/runs/"


def run_key(job_id: str, run: str, name: str) -> str:
    return f"{runs_prefix(job_id)}{run}/{name}.json"


def _ending_key(job_id: str, run: str, state: JobState) -> str:
    return run_key(job_id, run, ENDING_NAMES[state])


class Endings(Objects):
    def put_result(self, job_id: str, run: str, result: BaseModel, witnesses: Witnesses = ()) -> Ending | None:
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
        ended = self._adopt_result(job_id, run, witnesses)
        if ended is None:
            return None
        return Ending(JobState.SUCCEEDED, key, body, None, ended.witnesses) if ours else self.ending(job_id, run)

    def adopt_result(self, job_id: str, run: str, witnesses: Witnesses = ()) -> bool:
        """Claim the end with a result that somebody stored and did not live to claim with. False where there is none."""
        if not exists(self.store, _ending_key(job_id, run, JobState.SUCCEEDED)):
            return False
        return self._adopt_result(job_id, run, witnesses) is not None

    def put_error(self, job_id: str, run: str, error: ErrorInfo, witnesses: Witnesses = ()) -> Ending | None:
        """None where the run has ended otherwise."""
        return self._put_failure(job_id, run, JobState.FAILED, error, witnesses)

    def put_cancelled(self, job_id: str, run: str, witnesses: Witnesses = ()) -> Ending | None:
        """None where the run has ended otherwise."""
        return self._put_failure(job_id, run, JobState.CANCELLED, CANCELLED, witnesses)

    def add_witness(self, job_id: str, run: str, witness: Witness) -> None:
        """Of somebody who tells an end that another has stored."""
        self._put_once(run_key(job_id, run, f"witnesses/{witness.name}"), witness)

    def witnesses(self, job_id: str, run: str) -> Witnesses:
        """None of a run that has not ended."""
        found: list[Witness] = []
        with suppress(ObjectNotFound, Damaged):
            found.extend(self._get(run_key(job_id, run, "ended"), Ended).witnesses)
        for info in self.store.list(f"{runs_prefix(job_id)}{run}/witnesses/"):
            with suppress(ObjectNotFound, Damaged):
                found.append(self._get(info.key, Witness))
        return tuple(found)

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
            return Ending(ended.state, key, written(ended.error), ended.error, ended.witnesses)
        try:
            return Ending(ended.state, key, self.store.get(key), None, ended.witnesses)
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

    def _adopt_result(self, job_id: str, run: str, witnesses: Witnesses) -> Ended | None:
        """The claim that holds, where it says succeeded."""
        ours = Ended(state=JobState.SUCCEEDED, at=datetime.now(UTC), witnesses=witnesses)
        ended = self._claim(job_id, run, ours)
        if ended.state is not JobState.SUCCEEDED:
            self.store.delete(_ending_key(job_id, run, JobState.SUCCEEDED))
            return None
        return ended

    def _put_failure(
        self, job_id: str, run: str, state: JobState, error: ErrorInfo, witnesses: Witnesses
    ) -> Ending | None:
        ours = Ended(state=state, at=datetime.now(UTC), error=error, witnesses=witnesses)
        ended = self._claim(job_id, run, ours)
        if ended.state is not state or ended.error is None:
            return None
        key = _ending_key(job_id, run, state)
        self._put_once(key, ended.error)
        # Of somebody who was slower, and died before he could remove it himself.
        self.store.delete(_ending_key(job_id, run, JobState.SUCCEEDED))
        return Ending(state, key, written(ended.error), ended.error, ended.witnesses)

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

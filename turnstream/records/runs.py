"""The runs of a job, each one computation of it: what was asked, how far it is, how it ended."""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, BaseModel, RootModel

from schemas.base import Value
from schemas.errors import ErrorInfo
from schemas.jobs import LIVE_RUN, JobState, Params
from schemas.results import ObjectRef
from turnstream.object_store.base import ObjectExists, ObjectNotFound, exists
from turnstream.records.objects import Damaged, Objects

log = logging.getLogger("turnstream.records")


class MarkState(StrEnum):
    ACCEPTING = "accepting"
    """The submission is on its way; the caller has no answer yet."""
    QUEUED = "queued"
    """The broker acknowledged the job event; it lies where the mark says."""


class Mark(Value):
    """The mark of a pending run."""

    state: MarkState
    at: AwareDatetime
    topic_id: str | None = None
    partition: int | None = None
    offset: int | None = None


class RunRequest(Value):
    """What a run was asked for that is not the first of its job."""

    params: Params
    created_at: AwareDatetime


class Attempts(Value):
    count: int = 0


class StageFields(RootModel[dict[str, Any]]):
    """The fields of a result that is not the run's own."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended. `body` is the stored JSON; `error` is set for a failed or cancelled run."""

    state: JobState
    key: str
    body: bytes
    error: ErrorInfo | None = None


# Whatever raced, a run has one ending: the first of these that is there.
ENDINGS = ((JobState.SUCCEEDED, "result"), (JobState.FAILED, "error"), (JobState.CANCELLED, "cancelled"))
CANCELLED = ErrorInfo(code="job_cancelled", detail="The job was cancelled")


def runs_prefix(job_id: str) -> str:
    return f"jobs/{job_id}/runs/"


def mark_key(job_id: str, run: str) -> str:
    return f"pending/{job_id}/{run}"


def _run_key(job_id: str, run: str, name: str) -> str:
    return f"{runs_prefix(job_id)}{run}/{name}.json"


def _stage_key(job_id: str, run: str, name: str) -> str:
    return _run_key(job_id, run, f"stages/{name}")


class Runs(Objects):
    # What was asked

    def request_run(self, job_id: str, run: str, request: RunRequest) -> RunRequest:
        """Take a name for a run, for as long as the job is there: returns what it stands for, which is another request where
        somebody was quicker.
        """
        try:
            self._put(_run_key(job_id, run, "request"), request, if_absent=True)
        except ObjectExists:
            return self.run_request(job_id, run) or request  # which is erased just now
        return request

    def run_request(self, job_id: str, run: str) -> RunRequest | None:
        """None for the first run: it does what the job says."""
        try:
            return self._get(_run_key(job_id, run, "request"), RunRequest)
        except ObjectNotFound:
            return None

    def has_run(self, job_id: str, run: str) -> bool:
        """A run is known by its mark, or by its end; the first one by its job."""
        return run == LIVE_RUN or self.is_pending(job_id, run) or self.ended(job_id, run)

    def run_names(self, job_id: str) -> list[str]:
        """Of all that are known, the first one first."""
        prefix, pending = runs_prefix(job_id), mark_key(job_id, "")
        found = {info.key.removeprefix(prefix).partition("/")[0] for info in self.store.list(prefix)}
        found |= {info.key.removeprefix(pending) for info in self.store.list(pending)}
        return [LIVE_RUN, *sorted(run for run in found - {LIVE_RUN} if self.has_run(job_id, run))]

    # The marks of those that are pending

    def put_mark(self, job_id: str, run: str, mark: Mark) -> None:
        self._put(mark_key(job_id, run), mark)

    def mark(self, job_id: str, run: str) -> Mark | None:
        try:
            return self._get(mark_key(job_id, run), Mark)
        except ObjectNotFound:
            return None

    def is_pending(self, job_id: str, run: str) -> bool:
        """Whether the run has a mark, readable or not."""
        return exists(self.store, mark_key(job_id, run))

    def remove_mark(self, job_id: str, run: str) -> None:
        self.store.delete(mark_key(job_id, run))

    def pending(self) -> Iterator[tuple[str, str, Mark]]:
        """(job id, run, mark) of every run that has not ended, oldest first."""
        for info in self.store.list("pending/"):
            _, job_id, run = info.key.split("/", 2)
            try:
                mark = self.mark(job_id, run)
            except Damaged as error:
                log.error("left as it is: %s", error.detail)
                continue
            if mark is not None:  # else its run ended meanwhile
                yield job_id, run, mark

    # Attempts

    def attempts(self, job_id: str, run: str) -> int:
        try:
            return self._get(_run_key(job_id, run, "attempts"), Attempts).count
        except ObjectNotFound:
            return 0

    def put_attempts(self, job_id: str, run: str, count: int) -> None:
        self._put(_run_key(job_id, run, "attempts"), Attempts(count=count))

    # Stages

    def stage(self, job_id: str, run: str, name: str) -> dict[str, Any] | None:
        """What a stage of a run found, if it is done."""
        try:
            return self._get(_stage_key(job_id, run, name), StageFields).root
        except ObjectNotFound:
            return None

    def put_stage(self, job_id: str, run: str, name: str, found: Mapping[str, Any]) -> None:
        self._put_once(_stage_key(job_id, run, name), StageFields(dict(found)))

    def forget_stages(self, job_id: str, run: str) -> None:
        """The run has its end: it holds all that its stages found."""
        self.store.delete_prefix(_stage_key(job_id, run, "").removesuffix(".json"))

    # Endings

    def ending(self, job_id: str, run: str) -> Ending | None:
        for state, name in ENDINGS:
            key = _run_key(job_id, run, name)
            try:
                body = self.store.get(key)
            except ObjectNotFound:
                continue
            error = None if state is JobState.SUCCEEDED else self._parse(key, body, ErrorInfo)
            return Ending(state, key, body, error)
        return None

    def outcome(self, job_id: str, run: str) -> tuple[JobState, ErrorInfo | None] | None:
        """How a run ended, like `ending` but without reading its result."""
        if exists(self.store, _run_key(job_id, run, "result")):
            return JobState.SUCCEEDED, None
        ending = self.ending(job_id, run)
        return (ending.state, ending.error) if ending else None

    def ended(self, job_id: str, run: str) -> bool:
        return any(exists(self.store, _run_key(job_id, run, name)) for _, name in ENDINGS)

    def cancelled(self, job_id: str, run: str) -> bool:
        return exists(self.store, _run_key(job_id, run, "cancelled"))

    def put_result(self, job_id: str, run: str, result: BaseModel) -> None:
        """Store a result unless the run has one: the first stays."""
        self._put_once(_run_key(job_id, run, "result"), result)

    def put_error(self, job_id: str, run: str, error: ErrorInfo) -> None:
        self._put_once(_run_key(job_id, run, "error"), error)

    def put_cancelled(self, job_id: str, run: str) -> None:
        self._put_once(_run_key(job_id, run, "cancelled"), CANCELLED)


def reference(ending: Ending) -> ObjectRef:
    """Where a stored result lies, for an event that cannot carry it."""
    return ObjectRef(key=ending.key, sha256=hashlib.sha256(ending.body).hexdigest(), size=len(ending.body))

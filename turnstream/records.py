"""The life of a job in the object store: the only module that knows its keys.

    jobs/<id>/job.json                                   what was accepted
    jobs/<id>/audio                                      the recording as it came
    jobs/<id>/analysis/<fingerprint>                     what networks said of it: further runs start from there
    jobs/<id>/runs/<run>/{result,error,cancelled}.json   how a run ended; each is written once
    jobs/<id>/runs/<run>/attempts.json                   how often it was opened
    pending/<id>/<run>                                   the mark of a run that has not ended
    index/<owner>/<inverted time>-<id>                   an owner's jobs, newest first
    leases/<name>                                        who does what only one process should do
    layout/<n>.json                                      how topics are laid out; the last one is in force
    jobs/<id>/runs/<run>/stages/<name>.json              what a stage of a run found, until the run has its end

Every call blocks: on an event loop use it through a thread. Each may raise StoreUnavailable.
"""

import hashlib
import logging
import shutil
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, TypeVar

from pydantic import AwareDatetime, BaseModel, RootModel, ValidationError

from schemas.base import Value
from schemas.errors import ErrorInfo, JobNotFound, LayoutMismatch, StoreUnavailable
from schemas.jobs import LIVE_RUN, Job, JobState
from schemas.results import ObjectRef
from schemas.topics import Layout
from turnstream.object_store.base import ObjectExists, ObjectNotFound, ObjectStore, exists

log = logging.getLogger("turnstream.records")

Model = TypeVar("Model", bound=BaseModel)


class Damaged(StoreUnavailable):
    """An object is there and is not what it should be: somebody else wrote it."""


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


class Attempts(Value):
    count: int = 0


class StageFields(RootModel[dict[str, Any]]):
    """The fields of a result that is not the run's own."""


class Lease(Value):
    holder: str
    until: AwareDatetime


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
_LATEST = 10**13 - 1  # milliseconds: index keys count down from here, so that listing begins with the newest


def _job_prefix(job_id: str) -> str:
    return f"jobs/{job_id}/"


def _analysis_key(job_id: str, fingerprint: str) -> str:
    return f"{_job_prefix(job_id)}analysis/{fingerprint}"


def _run_key(job_id: str, run: str, name: str) -> str:
    return f"jobs/{job_id}/runs/{run}/{name}.json"


def _stage_key(job_id: str, run: str, name: str) -> str:
    return f"jobs/{job_id}/runs/{run}/stages/{name}.json"


def _mark_key(job_id: str, run: str) -> str:
    return f"pending/{job_id}/{run}"


def _index_key(job: Job) -> str:
    return f"index/{job.owner}/{_LATEST - int(job.created_at.timestamp() * 1000):013d}-{job.id}"


class Records:
    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    # The job

    def create(self, job: Job, audio: BinaryIO | None) -> None:
        """Store an accepted job and its recording. The mark comes first: whatever is interrupted here, the sweep finds it."""
        self.put_mark(job.id, LIVE_RUN, Mark(state=MarkState.ACCEPTING, at=datetime.now(UTC)))
        if audio is not None and job.audio is not None:
            self.store.put_stream(f"{_job_prefix(job.id)}audio", audio, size=job.audio.size)
        self._put(f"{_job_prefix(job.id)}job.json", job)
        self.store.put(_index_key(job), b"")

    def job(self, job_id: str) -> Job:
        """Raises JobNotFound."""
        try:
            return self._get(f"{_job_prefix(job_id)}job.json", Job)
        except ObjectNotFound:
            raise JobNotFound(f"There is no job {job_id}") from None

    def jobs(self, owner: str, *, after: str | None, limit: int) -> tuple[list[Job], str | None]:
        """An owner's jobs, newest first, and the cursor of the next page (None on the last)."""
        prefix = f"index/{owner}/"
        start = f"{prefix}{after}" if after else None
        keys = [info.key for info in islice(self.store.list(prefix, start_after=start), limit + 1)]
        found: list[Job] = []
        for key in keys[:limit]:
            try:
                found.append(self.job(key.removeprefix(prefix).split("-", 1)[1]))
            except JobNotFound:  # erased between the listing and now
                continue
            except Damaged as error:
                log.error("left out of a listing: %s", error.detail)
        return found, keys[limit - 1].removeprefix(prefix) if len(keys) > limit else None

    @contextmanager
    def audio(self, job_id: str, spool_dir: Path) -> Generator[BinaryIO]:
        """The recording, to be read and sought in. Where the store is elsewhere it is fetched into `spool_dir`, as a file
        without a name: nobody has to clear away what a killed process leaves. Raises JobNotFound.
        """
        key = f"{_job_prefix(job_id)}audio"
        with ExitStack() as opened:
            try:
                path = self.store.local_path(key)
                file = opened.enter_context(path.open("rb") if path else self._fetched(key, spool_dir))
            except (ObjectNotFound, FileNotFoundError):
                raise JobNotFound(f"The recording of job {job_id} is gone") from None
            yield file

    def _fetched(self, key: str, spool_dir: Path) -> BinaryIO:
        with ExitStack() as opened:
            try:
                spool_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
                spool = opened.enter_context(TemporaryFile(dir=spool_dir))
                with self.store.open(key) as stream:
                    shutil.copyfileobj(stream, spool, 1 << 20)
                spool.seek(0)
            except OSError as error:
                raise StoreUnavailable(
                    f"a recording cannot be spooled to {spool_dir}: {error.strerror} (free some space, or set DATA_DIR)"
                ) from error
            opened.pop_all()
            return spool

    def analysis(self, job_id: str, fingerprint: str) -> bytes | None:
        """What was kept of the recording under this fingerprint, which says what computed it."""
        try:
            return self.store.get(_analysis_key(job_id, fingerprint))
        except ObjectNotFound:
            return None

    def keep_analysis(self, job_id: str, fingerprint: str, data: bytes) -> None:
        """Keep it as long as the job; nothing stays of a job that was erased meanwhile."""
        key = _analysis_key(job_id, fingerprint)
        self.store.put(key, data)
        if not exists(self.store, f"{_job_prefix(job_id)}job.json"):
            self.store.delete(key)

    def erase(self, job: Job) -> None:
        """Remove everything about a job.

        An accepting mark comes first, or back, and goes last: what is interrupted here is ended by the sweep. Endings go before
        the rest, because the sweep takes a mark whose run has one for done.
        """
        self.put_mark(job.id, LIVE_RUN, Mark(state=MarkState.ACCEPTING, at=datetime.now(UTC)))
        self.store.delete_prefix(f"{_job_prefix(job.id)}runs/")
        self.store.delete(_index_key(job))
        self.erase_unindexed(job.id)

    def erase_unindexed(self, job_id: str) -> None:
        """Remove what a submission that never came to its end left behind."""
        with suppress(JobNotFound, Damaged):  # it did not get so far
            self.store.delete(_index_key(self.job(job_id)))
        # First of all: who still writes something of it looks for this one afterwards, and removes what it wrote.
        self.store.delete(f"{_job_prefix(job_id)}job.json")
        self.store.delete_prefix(_job_prefix(job_id))
        self.store.delete_prefix(_mark_key(job_id, ""))

    # The pending marks

    def put_mark(self, job_id: str, run: str, mark: Mark) -> None:
        self._put(_mark_key(job_id, run), mark)

    def mark(self, job_id: str, run: str) -> Mark | None:
        try:
            return self._get(_mark_key(job_id, run), Mark)
        except ObjectNotFound:
            return None

    def is_pending(self, job_id: str, run: str) -> bool:
        """Whether the run has a mark, readable or not."""
        return exists(self.store, _mark_key(job_id, run))

    def remove_mark(self, job_id: str, run: str) -> None:
        self.store.delete(_mark_key(job_id, run))

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

    # What processes agree on

    def take_lease(self, name: str, holder: str, seconds: float) -> bool:
        """Hold `name` for so long; True where it is ours. Two holders are possible for a moment: what a lease
        guards must stand being done twice."""
        key = f"leases/{name}"
        now = datetime.now(UTC)
        ours = Lease(holder=holder, until=now + timedelta(seconds=seconds))
        try:
            self._put(key, ours, if_absent=True)
            return True
        except ObjectExists:
            lease = self._lease(key)
        if lease is not None and lease.holder != holder and lease.until > now:
            return False
        self._put(key, ours)
        lease = self._lease(key)
        return lease is not None and lease.holder == holder

    def give_back_lease(self, name: str, holder: str) -> None:
        key = f"leases/{name}"
        lease = self._lease(key)
        if lease is not None and lease.holder == holder:
            self.store.delete(key)

    def _lease(self, key: str) -> Lease | None:
        try:
            return self._get(key, Lease)
        except (ObjectNotFound, Damaged):
            return None

    def agree_on_layout(self, groups: int, operations: Iterable[str]) -> Layout:
        """The layout in force, stored if there is none yet, with slots for these operations added if they had none.

        Raises LayoutMismatch where topics are laid out otherwise than `groups` says, or no slot is left.
        """
        operations = tuple(operations)
        while True:
            number, stored = self._layout_in_force()
            if stored is not None and stored.model_copy(update={"groups": 1, "slot": {}}) != Layout():
                raise LayoutMismatch(
                    f"the topics are laid out as {stored.model_dump_json()}: use the release that made them"
                )
            if stored is not None and stored.groups != groups:
                raise LayoutMismatch(
                    f"the topics have {stored.groups} groups of partitions: set PARTITION_GROUPS={stored.groups}, "
                    f"or let them grow with `turnstream layout grow`"
                )
            wanted = (stored or Layout(groups=groups)).including(operations)
            if wanted == stored or self._put_layout(number + 1, wanted):
                return wanted

    def layout(self) -> Layout | None:
        """The layout in force; None where there is none yet."""
        return self._layout_in_force()[1]

    def grow_layout(self, groups: int) -> Layout:
        """From now on jobs spread over more groups of partitions. Raises LayoutMismatch: groups never become fewer."""
        while True:
            number, stored = self._layout_in_force()
            stored = stored or Layout(groups=groups)
            if groups < stored.groups:
                raise LayoutMismatch(f"there are {stored.groups} groups of partitions, and they cannot become fewer")
            wanted = stored.model_copy(update={"groups": groups})
            if (wanted == stored and number) or self._put_layout(number + 1, wanted):
                return wanted

    def _layout_in_force(self) -> tuple[int, Layout | None]:
        """Its number, and the layout; 0 and None where there is none yet."""
        *_, last = ("", *(info.key for info in self.store.list("layout/")))
        return (int(Path(last).stem), self._get(last, Layout)) if last else (0, None)

    def _put_layout(self, number: int, layout: Layout) -> bool:
        """False where somebody else was quicker."""
        try:
            self._put(f"layout/{number:06d}.json", layout, if_absent=True)
        except ObjectExists:
            return False
        return True

    # Objects

    def _put(self, key: str, value: BaseModel, *, if_absent: bool = False) -> None:
        self.store.put(key, value.model_dump_json(exclude_none=True).encode(), if_absent=if_absent)

    def _put_once(self, key: str, value: BaseModel) -> None:
        with suppress(ObjectExists):
            self._put(key, value, if_absent=True)

    def _get(self, key: str, model: type[Model]) -> Model:
        return self._parse(key, self.store.get(key), model)

    @staticmethod
    def _parse(key: str, body: bytes, model: type[Model]) -> Model:
        try:
            return model.model_validate_json(body)
        except ValidationError as error:
            raise Damaged(f"the object {key} is damaged: {error.error_count()} fields do not fit") from error


def reference(ending: Ending) -> ObjectRef:
    """Where a stored result lies, for an event that cannot carry it."""
    return ObjectRef(key=ending.key, sha256=hashlib.sha256(ending.body).hexdigest(), size=len(ending.body))

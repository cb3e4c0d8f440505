"""Jobs and their recordings."""

import logging
import shutil
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

from schemas.errors import JobNotFound
from schemas.jobs import LIVE_RUN, Job
from turnstream import points
from turnstream.disk import unavailable
from turnstream.object_store.base import ObjectNotFound, exists
from turnstream.records.agreements import Agreements
from turnstream.records.dead_letters import DeadLetters
from turnstream.records.history import History
from turnstream.records.idempotency import Idempotency
from turnstream.records.marks import ERASURE, Mark, MarkState
from turnstream.records.objects import Damaged
from turnstream.records.replays import Replays
from turnstream.records.runs import Runs
from turnstream.records.webhooks import Webhooks

log = logging.getLogger("turnstream.records")

_LATEST = 10**13 - 1  # milliseconds: index keys count down from here, so that listing begins with the newest


def _job_key(job_id: str) -> str:
    return f"jobs/{job_id}/job.json"


def _audio_key(job_id: str) -> str:
    return f"jobs/{job_id}/audio"


def _analysis_key(job_id: str, fingerprint: str) -> str:
    return f"jobs/{job_id}/analysis/{fingerprint}"


def _index_key(job: Job) -> str:
    return f"index/{job.owner}/{_LATEST - int(job.created_at.timestamp() * 1000):013d}-{job.id}"


class Records(Runs, Webhooks, Idempotency, DeadLetters, Agreements, Replays, History):
    """All of them, over one object store."""

    def create(self, job: Job, audio: BinaryIO | None) -> Job:
        """Store an accepted job and its recording. The mark comes first: whatever is interrupted here, the sweep finds it.

        Under a claim the same submission may have been here before, and broken off, or be here now: what it stored stays, and
        the job as it is stored is returned.
        """
        mark = Mark(state=MarkState.ACCEPTING, at=datetime.now(UTC), claim=job.claim)
        self.put_first_mark(job.id, LIVE_RUN, mark)
        points.passing("intake.marked")
        if audio is not None and job.audio is not None:
            self.store.put_stream(_audio_key(job.id), audio, size=job.audio.size)
        points.passing("intake.audio")
        if not self._put_once(_job_key(job.id), job):
            job = self.job(job.id)
        points.passing("intake.recorded")
        self.store.put(_index_key(job), b"")
        if job.claim is not None and not self.has_job(job.id):  # given up meanwhile, where the same came twice at once
            self.store.delete(_index_key(job))
        points.passing("intake.indexed")
        self.queue_first_webhook(job, LIVE_RUN)
        return job

    def job(self, job_id: str) -> Job:
        """Raises JobNotFound."""
        try:
            return self._get(_job_key(job_id), Job)
        except ObjectNotFound:
            raise JobNotFound(f"There is no job {job_id}") from None

    def has_job(self, job_id: str) -> bool:
        """Whether there is such a job, however damaged; an erased one is gone."""
        return exists(self.store, _job_key(job_id))

    def job_of_run(self, job_id: str, run: str) -> Job:
        """The job as one of its runs computes it: with that run's parameters, asked for when that was. Raises JobNotFound."""
        job, request = self.job(job_id), None if run == LIVE_RUN else self.run_request(job_id, run)
        return job if request is None else request.applied_to(job)

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
        key = _audio_key(job_id)
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
                raise unavailable("recordings are spooled", spool_dir, error) from error
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
        if not exists(self.store, _job_key(job_id)):
            self.store.delete(key)

    def give_up_run(self, job_id: str, run: str, mark: Mark) -> None:
        """Take back the mark of a further run that was not accepted, unless another call has put its own.

        Its request stays: its event may be with the broker all the same, and whoever took the name for something else would get
        what that event asks for. Of an erased job nothing stays.
        """
        if not self.has_job(job_id):
            self.erase(job_id)
        elif self.mark(job_id, run) == mark:
            self.remove_mark(job_id, run)

    def erase(self, job_id: str) -> None:
        """Remove everything about a job, or what a submission that never came to its end left behind.

        A mark comes first and goes last that workers never touch: what is interrupted here is ended by the sweep.
        """
        self.put_mark(job_id, ERASURE, Mark(state=MarkState.ERASING, at=datetime.now(UTC)))
        again: str | None = None
        with suppress(JobNotFound, Damaged):  # it did not get so far, or somebody else is further with this
            job = self.job(job_id)
            self.store.delete(_index_key(job))
            if job.claim is not None:
                self.forget_claim(job.claim, job_id)
                again = _index_key(job)
            for run in self.run_names(job_id):
                self.unqueue_webhooks(self.job_of_run(job_id, run), run)
        # Before the rest: who still writes something of it looks for this one afterwards, and removes what it wrote.
        self.store.delete(_job_key(job_id))
        if again is not None:  # its twin has not looked yet, or finds that the job is gone
            self.store.delete(again)
        self.store.delete_prefix(f"jobs/{job_id}/")
        for run in self.marked_runs(job_id):
            self.remove_mark(job_id, run)
        self.remove_mark(job_id, ERASURE)

"""One recording all the way: hashed, handed in unless it was, waited for, its result put in place. Made for many threads."""

import hashlib
import re
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from schemas.errors import (
    FileUnusable,
    JobCancelled,
    JobNotFound,
    OperationDisabled,
    RouteNotFound,
    ServiceUnreachable,
    SettingsInvalid,
    TurnstreamError,
    Unauthorized,
    UnknownOperation,
    from_info,
)
from schemas.jobs import LIVE_RUN, JobState, JobView, Lane
from turnstream.backfill.archive import Recording
from turnstream.backfill.found import Found, found_in
from turnstream.backfill.placing import is_placed, place
from turnstream.backfill.state import Failure, State, Submission
from turnstream.backfill.stopping import Stop
from turnstream.backfill.work import Work
from turnstream.client import Client
from turnstream.resumable import Outcome

HOPELESS = (Unauthorized, UnknownOperation, OperationDisabled, RouteNotFound, ServiceUnreachable, SettingsInvalid)
"""What the next recording would meet with as well."""
LOOK = 5.0
"""Seconds the service may hold back its answer to a look at a job: what Ctrl-C may take."""
PAUSE = 1.0
"""Seconds between the beginnings of two looks, where the service holds nothing back."""
BLOCK = 1 << 20
JSON = "json"


class Hopeless(Exception):
    """The backfill ends with this error."""

    def __init__(self, error: TurnstreamError) -> None:
        super().__init__(error.detail)
        self.error = error


class Filing:
    """A call blocks until its recording is done. `stop` ends it early, with Stopped; `heard` is told what was found."""

    def __init__(self, client: Client, state: State, work: Work, stop: Stop, heard: Callable[[Found], None]) -> None:
        self._client = client
        self._state = state
        self._work = work
        self._stop = stop
        self._heard = heard
        self._submitting: set[str] = set()
        self._turn = threading.Condition()

    def __call__(self, recording: Recording) -> Outcome:
        """Raises Hopeless and Stopped; what is wrong with this recording alone is noted, and the outcome FAILED."""
        try:
            outcome = self._file(recording)
        except HOPELESS as error:
            raise Hopeless(error) from error
        except TurnstreamError as error:
            self._state.note_failure(self._work.id, Failure(recording.path, error.info, error.extra.get("job")))
            return Outcome.FAILED
        self._state.clear_failure(self._work.id, recording.path)
        return outcome

    def _file(self, recording: Recording) -> Outcome:
        if recording.fault:
            raise FileUnusable(f"{recording.path}: {recording.fault}")
        target = self._work.target(recording)
        digest = self._hash(recording.path)
        task = self._work.task(digest)
        if is_placed(self._state, target, task):
            return Outcome.THERE
        with self._one_at_a_time(task):
            known, view = self._submitted(task, recording.path, digest)
        try:
            if not self._work.wait:
                return Outcome.THERE if known else Outcome.DONE
            view = self._ended(view)
            content = self._client.result_as(view.id, self._work.format_, run=view.run)
            found = self._found(view, content)
            place(self._state, target, task, content)
        except TurnstreamError as error:
            error.extra["job"] = view.id
            raise
        self._heard(found)
        return Outcome.DONE

    def _found(self, view: JobView, content: bytes) -> Found:
        """Only JSON says it all."""
        if self._work.format_ != JSON and JSON in self._work.operation.formats:
            content = self._client.result_as(view.id, JSON, run=view.run)
        return found_in(content)

    def _hash(self, path: Path) -> str:
        """The SHA-256 of a file. Raises FileUnusable."""
        try:
            about = path.stat()
            if (known := self._state.hash_of(path, about)) is not None:
                return known
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while block := file.read(BLOCK):
                    self._stop.check()
                    digest.update(block)
        except OSError as error:
            raise FileUnusable(f"{path}: {error.strerror}") from error
        except ValueError as error:  # a zero byte, as `find -print0` ends names with
            raise FileUnusable(f"{str(path)[:200]!r} is no name of a file: a list has one a line") from error
        self._state.note_hash(path, about, digest.hexdigest())
        return digest.hexdigest()

    # Handing in

    @contextmanager
    def _one_at_a_time(self, task: str) -> Generator[None]:
        """Of two equal files the second finds what the first one handed in."""
        with self._turn:
            self._turn.wait_for(lambda: task not in self._submitting)
            self._submitting.add(task)
        try:
            yield
        finally:
            with self._turn:
                self._submitting.remove(task)
                self._turn.notify_all()

    def _submitted(self, task: str, path: Path, digest: str) -> tuple[bool, JobView]:
        """The run that computes the task, and whether it was known before."""
        sent = self._state.submission(task)
        if sent is not None and sent.job is not None:
            if (view := self._taken_up(task, sent, sent.job)) is not None:
                return True, view
            sent = None  # the job was erased
        if sent is None:
            sent = Submission(self._work.lane)
            self._state.note_submission(task, sent)
        view = self._client.submit(
            path,
            self._work.said,
            operation=self._work.operation.name,
            lane=Lane(sent.lane),
            idempotency_key=task,
            sent=lambda _: self._stop.check(),
        )
        if view.audio is not None and view.audio.sha256 != digest:
            self._take_back(task, path, view.id)
        self._state.note_submission(task, replace(sent, job=view.id, run=view.run, tried=self._state.start))
        return False, view

    def _taken_up(self, task: str, sent: Submission, job: str) -> JobView | None:
        """What became of a job that was handed in before. One that failed before this start is computed once more, under another
        name. None where there is no such job any more.
        """
        run = sent.run
        try:
            view = self._client.job(job, run=run)
            if sent.tried == self._state.start or view.state not in {JobState.FAILED, JobState.CANCELLED}:
                return view
            run = following(run)
        except JobNotFound:
            if run == LIVE_RUN:
                return None  # of another run it may be that it was not asked for before a kill
        self._state.note_submission(task, replace(sent, run=run, tried=self._state.start))
        try:
            return self._client.rerun(job, run=run)
        except JobNotFound:
            return None

    def _take_back(self, task: str, path: Path, job: str) -> None:
        self._client.erase(job)
        self._state.forget_submission(task)
        self._state.forget_hash(path)
        raise FileUnusable(f"{path} changed while it was sent")

    # Waiting

    def _ended(self, view: JobView) -> JobView:
        """The run as it succeeded. Raises the error it failed with."""
        while not view.state.ended:
            began = time.monotonic()
            view = self._client.job(view.id, run=view.run, wait=LOOK)
            if not view.state.ended:
                self._stop.sleep(max(0.0, began + PAUSE - time.monotonic()))
        if view.state is JobState.CANCELLED:
            raise JobCancelled(f"job {view.id} was cancelled")
        if view.error is not None:
            raise from_info(view.error)
        return view


def following(run: str) -> str:
    """live, backfill-2, backfill-3 and so on."""
    number = re.fullmatch(r"backfill-(\d+)", run)
    return f"backfill-{int(number[1]) + 1 if number else 2}"

"""What a backfill knows of its archive: which job computes which recording, which result it wrote where, what failed.

One SQLite file beside the results. It outlives a kill at any moment, holds millions of files without holding them in memory,
and is used by one backfill at a time. Without it nothing is lost but time: the idempotency keys find the jobs again for as
long as the service keeps them.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from schemas.errors import ErrorInfo, FileUnusable
from schemas.jobs import LIVE_RUN

VERSION = 1
LOCK_LIMIT = 1.0
"""Seconds to wait for another backfill that is just ending."""
TABLES = """
CREATE TABLE hashes (path BLOB PRIMARY KEY, size INTEGER, modified INTEGER, sha256 TEXT) WITHOUT ROWID;
CREATE TABLE jobs (task TEXT PRIMARY KEY, lane TEXT, job TEXT, run TEXT, tried INTEGER) WITHOUT ROWID;
CREATE TABLE results (path BLOB, sha256 TEXT, task TEXT, done INTEGER, PRIMARY KEY (path, sha256)) WITHOUT ROWID;
CREATE TABLE failures (path BLOB, work TEXT, code TEXT, detail TEXT, job TEXT, seen INTEGER,
                       PRIMARY KEY (path, work)) WITHOUT ROWID;
CREATE TABLE starts (number INTEGER PRIMARY KEY);
"""
# `modified` is in nanoseconds. `tried`, `seen`: the start of the backfill in which that was.


@dataclass(frozen=True, slots=True)
class Submission:
    """What was sent, or is about to be, for a task: sent again it has to be the same."""

    lane: str
    job: str | None = None
    """None as long as no answer is known."""
    run: str = LIVE_RUN
    tried: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    path: Path
    error: ErrorInfo
    job: str | None = None


class State:
    """May be shared between threads. `start` counts how often a backfill was begun with this file. Each method but the first
    raises sqlite3.Error where the disk fails.
    """

    def __init__(self, path: Path) -> None:
        """Raises FileUnusable, also where another backfill is at work with it."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=LOCK_LIMIT, check_same_thread=False, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise FileUnusable(f"{path}: {error}") from error
        self._lock = threading.Lock()
        self._folder = path.absolute().parent
        try:
            self.start = self._begin()
        except sqlite3.Error as error:
            self._db.close()
            locked = isinstance(error, sqlite3.OperationalError) and "locked" in str(error)
            says = "another backfill is at work with it" if locked else f"it is no state of a backfill ({error})"
            raise FileUnusable(f"{path}: {says}") from error

    def _begin(self) -> int:
        # Held alone, a write-ahead log needs no shared memory, so that a network's file system does as well:
        # https://www.sqlite.org/wal.html#use_of_wal_without_shared_memory
        for setting in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = NORMAL"):
            self._db.execute(f"PRAGMA {setting}")
        [version] = self._db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._db.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;")
        elif version != VERSION:
            raise sqlite3.DatabaseError(f"version {version}")
        return self._db.execute("INSERT INTO starts DEFAULT VALUES").lastrowid or 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock, suppress(sqlite3.Error):
            self._db.close()

    def hash_of(self, path: Path, about: os.stat_result) -> str | None:
        """The SHA-256 of a file that has not changed since, as far as its size and time tell."""
        row = self._one(
            "SELECT sha256 FROM hashes WHERE (path, size, modified) = (?, ?, ?)", self._key(path), *_marks(about)
        )
        return row and row[0]

    def note_hash(self, path: Path, about: os.stat_result, sha256: str) -> None:
        self._do("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?)", self._key(path), *_marks(about), sha256)

    def forget_hash(self, path: Path) -> None:
        self._do("DELETE FROM hashes WHERE path = ?", self._key(path))

    def submission(self, task: str) -> Submission | None:
        row = self._one("SELECT lane, job, run, tried FROM jobs WHERE task = ?", task)
        return row and Submission(*row)

    def note_submission(self, task: str, sent: Submission) -> None:
        row = (sent.lane, sent.job, sent.run, sent.tried)
        self._do("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?, ?)", task, *row)

    def forget_submission(self, task: str) -> None:
        self._do("DELETE FROM jobs WHERE task = ?", task)

    def has_result(self, path: Path, task: str) -> bool:
        """Whether the last that was written to this path is the result of the task."""
        return bool(self._one("SELECT 1 FROM results WHERE (path, task, done) = (?, ?, 1)", self._key(path), task))

    def is_ours(self, path: Path, sha256: str) -> bool:
        """Whether this is what was written last to this path, or was about to be."""
        return bool(self._one("SELECT 1 FROM results WHERE (path, sha256) = (?, ?)", self._key(path), sha256))

    def will_write(self, path: Path, task: str, sha256: str) -> None:
        """To be said before it is done: whoever is killed in between finds either one, and both are ours."""
        self._do("UPDATE results SET done = 0 WHERE path = ?", self._key(path))
        self._do("INSERT OR REPLACE INTO results VALUES (?, ?, ?, 0)", self._key(path), sha256, task)

    def has_written(self, path: Path, task: str, sha256: str) -> None:
        self._do("DELETE FROM results WHERE path = ? AND sha256 <> ?", self._key(path), sha256)
        self._do("INSERT OR REPLACE INTO results VALUES (?, ?, ?, 1)", self._key(path), sha256, task)

    def note_failure(self, work: str, failure: Failure) -> None:
        # A path that it names may have bytes that are no text, which SQLite does not take.
        detail = failure.error.detail.encode(errors="backslashreplace").decode()
        row = (failure.error.code, detail, failure.job, self.start)
        self._do("INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?, ?)", self._key(failure.path), work, *row)

    def clear_failure(self, work: str, path: Path) -> None:
        self._do("DELETE FROM failures WHERE path = ? AND work = ?", self._key(path), work)

    def clear_failures_before(self, work: str) -> None:
        """Those of files that are not in the archive any more: this start, which has seen all files, has not seen them fail."""
        self._do("DELETE FROM failures WHERE work = ? AND seen < ?", work, self.start)

    def failures(self, work: str) -> Iterator[Failure]:
        after = b""
        query = "SELECT path, code, detail, job FROM failures WHERE work = ? AND path > ? ORDER BY path LIMIT 1"
        while row := self._one(query, work, after):
            after, code, detail, job = row
            yield Failure(
                Path(os.path.normpath(self._folder / os.fsdecode(after))), ErrorInfo(code=code, detail=detail), job
            )

    def _key(self, path: Path) -> bytes:
        """An archive may be moved, together with its state."""
        return os.fsencode(os.path.relpath(path, self._folder))

    def _one(self, query: str, *values: Any) -> Any:
        with self._lock:
            return self._db.execute(query, values).fetchone()

    def _do(self, query: str, *values: Any) -> None:
        with self._lock:
            self._db.execute(query, values)


def _marks(about: os.stat_result) -> tuple[int, int]:
    return about.st_size, about.st_mtime_ns

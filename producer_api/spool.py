"""A recording on its way in: a file under the data directory, hashed, counted and cut off at the limit as it comes."""

import hashlib
import logging
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from producer_api.threads import Threads
from schemas.errors import StoreUnavailable, UploadTooLarge
from turnstream.settings import MiB

log = logging.getLogger("turnstream.api")

PREFIX = "upload-"
FLUSH = 1 * MiB
"""Bytes that are gathered before a thread hashes and writes them: disks may be slow, the event loop may not."""


def remove_old_spools(spool_dir: Path) -> None:
    """What a process that was killed left behind."""
    for path in spool_dir.glob(f"{PREFIX}*"):
        log.info("removing %s, an upload that an earlier process left", path.name)
        path.unlink(missing_ok=True)


class Spool:
    """Raises StoreUnavailable where the file cannot be written."""

    def __init__(self, directory: Path, limit: int) -> None:
        self.size = 0
        self._limit = limit
        self._hash = hashlib.sha256()
        self._buffer = bytearray()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=PREFIX, dir=directory)
        except OSError as error:
            raise _unwritable(error) from error
        self.path = Path(name)
        self._file = os.fdopen(handle, "wb")

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def append(self, data: bytes) -> None:
        """Raises UploadTooLarge."""
        self.size += len(data)
        if self.size > self._limit:
            raise UploadTooLarge(f"The recording is larger than {self._limit} bytes", limit=self._limit)
        self._buffer += data

    async def drain(self, threads: Threads, *, least: int = FLUSH) -> None:
        """Write what was gathered, if it is `least` bytes or more."""
        if len(self._buffer) >= least:
            data, self._buffer = self._buffer, bytearray()
            await threads.run(self._write, data)

    def _write(self, data: bytearray) -> None:
        self._hash.update(data)
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise _unwritable(error) from error

    def close(self) -> None:
        """Give the file back, the path stays."""
        self._file.close()

    def discard(self) -> None:
        # A thread may still be in _write for a caller who was cancelled: close() waits for it, and then the file goes.
        with suppress(OSError):
            self._file.close()
        self.path.unlink(missing_ok=True)


def _unwritable(error: OSError) -> StoreUnavailable:
    return StoreUnavailable(f"The spool cannot be written: {error.strerror}")

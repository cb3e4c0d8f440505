"""A recording is first looked into by a helper process: what crashes or hangs there costs one upload, not the service."""

import asyncio
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Protocol

from pebble import ProcessExpired, ProcessPool

from schemas.errors import AudioUnreadable, Busy

HELPERS = 2
PROBE_TIMEOUT = 20.0
"""Seconds the demuxer has for one recording."""
QUEUE_TIMEOUT = 60.0
"""Seconds a recording may take with the time it waits for a helper."""


class Probe(Protocol):
    """What a probe says of a recording."""

    @property
    def duration(self) -> float | None: ...


def probe_file(path: str) -> Probe:
    from turnstream.media import probe_path

    return probe_path(path)


def _settle_in(parent: int) -> None:
    """Runs first in every helper: nothing lies in its working directory, and it does not outlive the service."""
    directory = tempfile.mkdtemp(prefix="turnstream-probe-")
    os.chdir(directory)
    Path(directory).rmdir()  # nothing can be put there either, and nothing stays of a service that is killed
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _warm_up() -> None:
    import turnstream.media  # noqa: F401  # pyright: ignore[reportUnusedImport]


class Prober:
    def __init__(self, probe: Callable[[str], Any] = probe_file, *, timeout: float = PROBE_TIMEOUT) -> None:
        self._probe = probe
        self._timeout = timeout
        self._pool: ProcessPool | None = None

    def start(self) -> None:
        """Start the helpers and let them import the decoder, so that the first upload is as quick as the next."""
        for _ in range(HELPERS):
            self._running().schedule(_warm_up)

    async def probe(self, path: Path) -> Probe:
        """Raises the AudioError tree, and Busy where too many recordings wait."""
        try:
            async with asyncio.timeout(QUEUE_TIMEOUT):
                return await self._examine(path)
        except TimeoutError:
            raise Busy("Too many recordings are waiting to be examined") from None

    async def _examine(self, path: Path) -> Probe:
        try:
            return await self._ask(path)
        except BrokenProcessPool:  # a helper was killed while idle: pebble gives the whole pool up
            return await self._ask(path)
        except ProcessExpired:
            raise AudioUnreadable("The decoder crashed on this recording") from None
        except TimeoutError:
            raise AudioUnreadable(f"The recording could not be examined within {self._timeout:g} s") from None

    def _ask(self, path: Path) -> asyncio.Future[Probe]:
        task = self._running().schedule(self._probe, args=[str(path.absolute())], timeout=self._timeout)
        return asyncio.wrap_future(task)

    def _running(self) -> ProcessPool:
        if self._pool is None or not self._pool.active:
            self._pool = ProcessPool(
                HELPERS,
                initializer=_settle_in,
                initargs=[os.getpid()],
                context=multiprocessing.get_context("spawn"),  # pyright: ignore[reportArgumentType]
            )
        return self._pool

    def close(self) -> None:
        if self._pool is not None:
            self._pool.stop()
            self._pool.join()

"""Recordings decoded aside, in threads, while the networks are busy with others."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

from processor.engines.aside import Aside
from processor.engines.base import Cancelled, JobTask, Tell, Urgency
from schemas.jobs import JobKey

Decoded = TypeVar("Decoded")


@dataclass(eq=False, slots=True)
class Decoding(Generic[Decoded]):
    """One recording on its way."""

    task: JobTask
    cancelled: threading.Event = field(default_factory=threading.Event)
    future: Future[Decoded] = field(default_factory=Future[Decoded])
    seconds: float = 0.0
    share: float = 0.0
    """How much of it is decoded, 0 to 1; stays 0 where nobody knows how long it is."""

    def tell(self, share: float) -> None:
        self.share = share

    def result(self) -> Decoded:
        """What came out of it, once it is over. Raises what the decoding raised."""
        return self.future.result()


class Decoders(Generic[Decoded]):
    """Serves the most urgent first, as `Aside` does. Used from one thread."""

    def __init__(
        self,
        decode: Callable[[JobTask, Cancelled, Tell], Decoded],
        changed: threading.Event,
        release: Callable[[Decoded], None],
    ) -> None:
        """`decode` is called in a thread; `changed` is set when one is over; `release` gets what nobody took."""
        self._decode, self._release = decode, release
        self._threads: Aside[Decoded] = Aside("decode", changed)
        self._decodings: dict[JobKey, Decoding[Decoded]] = {}

    def add(self, task: JobTask, urgency: Urgency) -> None:
        self.drop(task.id)
        decoding: Decoding[Decoded] = Decoding(task)
        decoding.future = self._threads.submit(urgency, partial(self._run, decoding))
        self._decodings[task.id] = decoding

    def ended(self) -> list[Decoding[Decoded]]:
        """Those that are over since this was last asked, well or not."""
        ended = [decoding for decoding in self._decodings.values() if decoding.future.done()]
        for decoding in ended:
            del self._decodings[decoding.task.id]
        return ended

    def share(self, id: JobKey) -> float:
        """How much of a recording is decoded, 0 to 1; 0 of one that is not on its way."""
        decoding = self._decodings.get(id)
        return decoding.share if decoding is not None else 0.0

    def drop(self, id: JobKey) -> None:
        """Forget a recording, also one that is being decoded."""
        decoding = self._decodings.pop(id, None)
        if decoding is not None:
            decoding.cancelled.set()
            if not decoding.future.cancel():
                decoding.future.add_done_callback(self._discard)

    def close(self) -> None:
        for id in list(self._decodings):
            self.drop(id)
        self._threads.close()

    def _run(self, decoding: Decoding[Decoded]) -> Decoded:
        started = time.monotonic()
        try:
            return self._decode(decoding.task, decoding.cancelled.is_set, decoding.tell)
        finally:
            decoding.seconds = time.monotonic() - started

    def _discard(self, future: Future[Decoded]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._release(future.result())

"""What an engine does beside its forward passes, in threads: decoding before them, clustering after them."""

import heapq
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from processor.engines.base import Urgency

T = TypeVar("T")


class Aside(Generic[T]):
    """Two threads that do the most urgent work first. One of them is kept for interactive jobs, so that none of those waits
    behind an hour of a batch job."""

    def __init__(self, name: str, changed: threading.Event) -> None:
        """`changed` is set whenever something is done."""
        self._changed = changed
        self._waiting: list[tuple[Urgency, int, Future[T], Callable[[], T]]] = []  # a heap
        self._count = itertools.count()
        self._news = threading.Condition()
        self._closed = False
        for only_interactive in (False, True):
            threading.Thread(target=self._run, args=(only_interactive,), name=name, daemon=True).start()

    def submit(self, urgency: Urgency, work: Callable[[], T]) -> "Future[T]":
        future: Future[T] = Future()
        future.add_done_callback(self._done)
        with self._news:
            heapq.heappush(self._waiting, (urgency, next(self._count), future, work))
            self._news.notify_all()
        return future

    def close(self) -> None:
        """Begin nothing more; what is being done ends in its own time."""
        with self._news:
            self._closed = True
            self._waiting.clear()
            self._news.notify_all()

    def _run(self, only_interactive: bool) -> None:
        while (next_one := self._next(only_interactive)) is not None:
            future, work = next_one
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:
                    future.set_exception(error)
            del next_one, future, work  # what they hold is not to stay until the next one comes

    def _next(self, only_interactive: bool) -> tuple["Future[T]", Callable[[], T]] | None:
        with self._news:
            while not self._closed:
                if self._waiting and not (only_interactive and self._waiting[0][0][0]):
                    _, _, future, work = heapq.heappop(self._waiting)
                    return future, work
                self._news.wait()
        return None

    def _done(self, _: "Future[Any]") -> None:
        self._changed.set()

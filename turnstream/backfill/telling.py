"""How far a backfill is: a bar on a terminal, now and then a line elsewhere."""

import threading
import time
from collections import Counter
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from schemas.errors import TurnstreamError
from turnstream.backfill.found import Found
from turnstream.bars import LINE_EVERY, Rate
from turnstream.resumable import Tally
from turnstream.timeline import clock


class Teller:
    """A context manager. Its methods may be called from any thread."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._tally = Tally()
        self._total: int | None = None
        self._seconds = 0.0
        self._warned = Counter[str]()
        self._away = False
        self._line = (time.monotonic(), 0)
        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("files, {task.description}"),
            Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    @property
    def sound(self) -> str:
        return f"{clock(self._seconds, 0)} of audio"

    @property
    def warned(self) -> str:
        """How many results have which warning; empty where none has any."""
        return ", ".join(f"{code} in {count}" for code, count in self._warned.most_common())

    def count(self, total: int | None) -> None:
        self._total = total
        self._bar.update(self._task, total=total)

    def hear(self, found: Found) -> None:
        with self._lock:
            self._seconds += found.seconds
            self._warned.update(set(found.warnings))

    def tell(self, tally: Tally) -> None:
        with self._lock:
            self._tally, self._away = tally, False
            failed = f", {tally.failed} failed" if tally.failed else ""
            self._bar.update(self._task, completed=tally.total, description=f"{self.sound}{failed}")
            if not self._console.is_terminal and time.monotonic() - self._line[0] >= LINE_EVERY:
                self._say(self._now(failed))

    def wait(self, error: TurnstreamError) -> None:
        """Say what is waited for, once until something goes on."""
        with self._lock:
            if not self._away:
                self._away = True
                self._say(f"waiting: {escape(error.detail)}")

    def _now(self, failed: str) -> str:
        (since, before), now, done = self._line, time.monotonic(), self._tally.total
        self._line = (now, done)
        rate = (done - before) / (now - since)
        total = self._total
        of, left = ("", "") if total is None else (f" of {total}", f", {clock(max(0, total - done) / rate, 0)} left")
        return f"{done}{of} files, {self.sound}, {rate:.1f}/s{left}{failed}"

    def _say(self, line: str) -> None:
        self._console.print(line, style="dim", highlight=False, soft_wrap=True)

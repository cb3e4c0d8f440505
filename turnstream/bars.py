"""How far much work is, with its rate and the time left: a bar on a terminal, now and then a line elsewhere."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from turnstream.resumable import Tally

LINE_EVERY = 10.0
"""Seconds between two lines where there is no terminal."""


class Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.0f}/s" if task.speed else "", style="progress.data.speed")


@contextmanager
def bar(what: str, total: int | None, console: Console) -> Generator[Callable[[Tally], None]]:
    """What `publish` tells goes onto the console. `total`: how many items there are, where that is known."""
    if not console.is_terminal:
        yield _Lines(what, total, console)
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), Rate(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda tally: progress.update(task, completed=tally.total)


class _Lines:
    def __init__(self, what: str, total: int | None, console: Console) -> None:
        self._what, self._total, self._console = what, total, console
        self._began = self._said = time.monotonic()

    def __call__(self, tally: Tally) -> None:
        now = time.monotonic()
        if now - self._said < LINE_EVERY:
            return
        self._said = now
        rate = tally.total / (now - self._began)
        of, left = "", ""
        if self._total is not None:
            of = f" of {self._total}"
            left = f", {max(0, self._total - tally.total) / rate:.0f} s left"
        self._console.print(f"{self._what} {tally.total}{of}, {rate:.0f}/s{left}", highlight=False, soft_wrap=True)

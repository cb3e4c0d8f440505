"""`turnstream backfill`: an archive through the service, a few files at a time, by a command that may be killed and repeated."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from schemas.errors import FileUnusable
from turnstream.backfill.archive import Archive, Choice, Recording, count
from turnstream.backfill.failures import FailureList
from turnstream.backfill.filing import Filing, Hopeless
from turnstream.backfill.names import FAILURES, STATE
from turnstream.backfill.state import State
from turnstream.backfill.stopping import Stop
from turnstream.backfill.telling import Teller
from turnstream.backfill.work import Work
from turnstream.bars import LINE_EVERY
from turnstream.client import Client
from turnstream.patience import Patience
from turnstream.resumable import Outcome, Tally, publish
from turnstream.settings import Settings
from turnstream.submit import first_key

LONGEST_PAUSE = 300.0
"""Seconds that are waited at most where the service asks for a moment."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where a backfill keeps what is not a result; None: beside the results."""

    failures: Path | None = None
    state: Path | None = None


def backfill(
    settings: Settings,
    source: Path,
    work: Work,
    *,
    at_once: int,
    choice: Choice,
    places: Places,
    url: str | None = None,
    key: str | None = None,
) -> bool:
    """Whether nothing failed. Raises FileUnusable, and the error that would meet every recording."""
    console = Console()
    home = work.out or Archive(source).folder
    failures, kept = places.failures or home / FAILURES, places.state or home / STATE
    leave_out = [path for path in (work.out, failures, kept) if path is not None]
    archive = Archive(source, choice, leave_out=leave_out)
    try:
        with State(kept) as state, Teller(console) as teller:
            listed, stop = FailureList(failures, state, work.id), Stop()
            patience = Patience(tries=None, longest=LONGEST_PAUSE, sleep=stop.sleep, tell=teller.wait)
            with Client(url or settings.turnstream_url, key or first_key(settings), patience=patience) as client:
                filing = Filing(client, state, work, stop, teller.hear)
                tally = _publish(archive, filing, at_once, stop, teller, listed)
            state.clear_failures_before(work.id)
            failed = listed.write()
    except KeyboardInterrupt:
        console.print("stopped: the same command goes on from here; what was handed in is computed meanwhile")
        raise
    except Hopeless as error:
        raise error.error from error
    except sqlite3.Error as error:
        raise FileUnusable(f"{kept}: {error}") from error
    console.print(summary(tally, work, teller.sound), highlight=False, soft_wrap=True)
    if teller.warned:
        console.print(f"[yellow]warnings:[/yellow] {escape(teller.warned)}", highlight=False, soft_wrap=True)
    if failed:
        console.print(f"[red]{failed} failed[/red]: {escape(str(failures))}", highlight=False, soft_wrap=True)
    return not failed


def _publish(archive: Archive, filing: Filing, at_once: int, stop: Stop, teller: Teller, listed: FailureList) -> Tally:
    """All recordings. However it ends, nothing of it goes on in the background, and the list of failures is up to date."""
    counting = threading.Thread(target=lambda: teller.count(count(archive, lambda: stop.asked)))
    counting.start()
    try:
        return asyncio.run(_all(archive.recordings(), filing, at_once, stop, _Telling(teller, listed)))
    finally:
        stop.ask()
        counting.join()
        listed.write()


async def _all(recordings: Iterable[Recording], filing: Filing, at_once: int, stop: Stop, tell: "_Telling") -> Tally:
    with ThreadPoolExecutor(at_once) as pool:

        async def act(recording: Recording) -> Outcome:
            return await asyncio.get_running_loop().run_in_executor(pool, filing, recording)

        async def each() -> AsyncIterator[Recording]:
            for recording in recordings:
                yield recording

        try:
            return await publish(each(), act, at_once=at_once, tell=tell)
        finally:
            stop.ask()


class _Telling:
    """Hears the tally: the list of failures is also written now and then, for whoever looks at it meanwhile."""

    def __init__(self, teller: Teller, listed: FailureList) -> None:
        self._teller = teller
        self._listed = listed
        self._written = (0.0, 0)

    def __call__(self, tally: Tally) -> None:
        self._teller.tell(tally)
        now, (at, failed) = asyncio.get_running_loop().time(), self._written
        if tally.failed > failed and now - at > LINE_EVERY:
            self._written = (now, tally.failed)
            self._listed.write()


def summary(tally: Tally, work: Work, sound: str) -> str:
    if not work.wait:
        return f"{_counted(tally.done, 'file')} handed in, {tally.there} before, {tally.failed} refused"
    return f"{_counted(tally.done, 'result')} written, {sound}; {tally.there} there before, {tally.failed} failed"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"

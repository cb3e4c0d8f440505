"""`turnstream dlq`: the dead letters of a broker, listed, looked at, asked for again: docs/errors.md has the procedure."""

import asyncio
import json
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from schemas.errors import FileUnusable, InvalidRequest
from schemas.topics import Topic
from turnstream import bus as buses
from turnstream import dead_letters
from turnstream.connected import connected, records_of
from turnstream.dead_letters import DeadLetter
from turnstream.requeue import Requeue
from turnstream.settings import Settings

COLUMNS = ("offset", "time", "error", "attempt", "job", "run", "src")
WIDEST = 10_000
SHOWN = 4096
"""Bytes of a value that is no text that the terminal gets."""
_TELL_EVERY = 500  # dead letters, while they are read


def show_list(settings: Settings, *, as_json: bool) -> None:
    """A table, or a JSON object a line."""
    letters = asyncio.run(_listed(settings))
    if as_json:
        for letter in letters:
            print(json.dumps(letter))  # noqa: T201 - for programs
        return
    table = Table(*COLUMNS, box=None, pad_edge=False, header_style="bold")
    for letter in letters:
        cells = ("" if letter[name] is None else str(letter[name]) for name in COLUMNS)
        table.add_row(*(Text(printable(cell), overflow="fold") for cell in cells))
    # As wide as it needs, however narrow the terminal: an id that is wrapped cannot be copied.
    width = Console(width=WIDEST).measure(table).maximum
    console = Console(width=width) if letters else Console()
    console.print(table if letters else f"{Topic.JOBS_DLQ} holds no dead letters.")


def show_one(settings: Settings, offset: int, out: Path | None) -> None:
    """Its key, headers and value; where a file is named, the value goes there as it came."""
    letter, value = asyncio.run(_fetched(settings, offset, whole=out is not None))
    console = Console()
    for name, content in (("key", letter.record.key or b""), *letter.record.headers):
        text = printable(content.decode(errors="backslashreplace"))
        console.print(Text.assemble((f"{printable(name)}: ", "bold"), text), soft_wrap=True)
    console.print()
    if out is not None:
        _write(out, value or b"")
        console.print(Text(f"{len(value or b'')} bytes written to {out}"), soft_wrap=True)
    elif letter.stored is not None:
        console.print(f"{letter.stored.size} bytes, too many for the topic: --out FILE fetches them")
    else:
        console.print(Text(readable(value)), soft_wrap=True)


def requeue(settings: Settings, offsets: Collection[int], error: str | None) -> bool:
    """Of the dead letters at `offsets`; without any, of those with the code `error`; without either, of all. Says what became
    of each; False where one could not be asked for again.
    """
    return asyncio.run(_requeued(settings, frozenset(offsets), error))


async def _listed(settings: Settings) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    with Console(stderr=True).status("reading") as status:
        async with connected(settings) as bus, aclosing(_read(bus)) as letters:
            async for letter in letters:
                found.append(described(letter))
                if len(found) % _TELL_EVERY == 0:
                    status.update(f"reading, {len(found)} so far")
    return found


async def _fetched(settings: Settings, offset: int, *, whole: bool) -> tuple[DeadLetter, bytes | None]:
    async with connected(settings) as bus, aclosing(_read(bus)) as letters:
        async for letter in letters:
            if letter.offset == offset:
                if not whole:
                    return letter, letter.record.value
                return letter, await asyncio.to_thread(dead_letters.original, records_of(settings), letter)
    raise InvalidRequest(f"{Topic.JOBS_DLQ} has nothing at offset {offset}: `turnstream dlq list` shows what there is")


async def _requeued(settings: Settings, offsets: frozenset[int], error: str | None) -> bool:
    console = Console()
    columns = (TextColumn("asking again"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    async with connected(settings) as bus:
        again = await Requeue.on(bus, records_of(settings))
        # Chosen before anything is done: a letter that comes of this very requeue is not among them.
        left = set(offsets) or {letter.offset async for letter in _read(bus) if error in {None, letter.error}}
        if not left:
            console.print("No dead letters there.")
        failed = 0
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("", total=len(left))
            async with aclosing(_read(bus)) as letters:
                while left and (letter := await anext(letters, None)) is not None:
                    if letter.offset in left:
                        left.discard(letter.offset)
                        answer = await again.again(letter)
                        failed += not answer.done
                        console.print(_line(letter, answer.said, done=answer.done), soft_wrap=True)
                        bar.advance(task)
    for offset in sorted(left):
        console.print(f"{offset}: there is no such dead letter", style="red", soft_wrap=True)
    return not failed and not left


def described(letter: DeadLetter) -> dict[str, Any]:
    """What a line of a list says."""
    job, run = letter.id or (None, None)
    size = letter.stored.size if letter.stored else len(letter.record.value or b"")
    return {
        "offset": letter.offset,
        "time": datetime.fromtimestamp(letter.record.timestamp, UTC).isoformat(timespec="seconds"),
        "error": letter.error,
        "detail": letter.detail,
        "attempt": letter.attempt,
        "job": job,
        "run": run,
        "src": letter.src and str(letter.src),
        "size": size,
    }


def readable(value: bytes | None) -> str:
    """JSON with a line for each member, text with its control characters visible, the beginning of anything else in hex."""
    if value is None:
        return "(no value)"
    try:
        return printable(json.dumps(json.loads(value), indent=2, ensure_ascii=False))
    except (ValueError, RecursionError):
        pass
    try:
        return printable(value.decode())
    except UnicodeDecodeError:
        lines = [value[at : at + 32].hex(" ", 4) for at in range(0, min(len(value), SHOWN), 32)]
        more = [f"... {len(value) - SHOWN} more bytes: --out FILE writes all"] if len(value) > SHOWN else []
        return "\n".join(lines + more)


def printable(text: str) -> str:
    """What others wrote, so that it moves no cursor."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def _line(letter: DeadLetter, said: str, *, done: bool) -> Text:
    of = f" job {letter.id[0]}:" if letter.id else ""
    return Text(printable(f"{letter.offset}:{of} {said}"), style="" if done else "red")


def _write(out: Path, value: bytes) -> None:
    try:
        out.write_bytes(value)
    except OSError as error:
        raise FileUnusable(f"{error.filename}: {error.strerror}") from error


async def _read(bus: buses.Bus) -> AsyncGenerator[DeadLetter, None]:
    async with aclosing(bus.snapshot(Topic.JOBS_DLQ)) as records:
        async for record in records:
            yield dead_letters.read(record)

"""`turnstream replay`: what the command line shows of it. How far it is goes to standard error."""

import asyncio
import json
import os
from contextlib import nullcontext
from dataclasses import asdict
from datetime import datetime

from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from schemas.errors import ReplayRefused
from turnstream.bars import bar
from turnstream.connected import connected, records_of
from turnstream.operations import installed
from turnstream.records import Records, ReplayRequest, Source
from turnstream.replay import stopping
from turnstream.replay.asking import Order, request_of, start
from turnstream.replay.publisher import Publisher
from turnstream.replay.standing import Standing, standing
from turnstream.replay.survey import Survey
from turnstream.resumable import Tally
from turnstream.settings import Settings

NICE = 10
"""On a machine that it shares with API, worker, broker and store it takes the processor time that these leave."""
WIDTH = 40
"""Columns of the bar that `status` shows."""


def replay(settings: Settings, order: Order, *, at_once: int, ahead: int, rehearse: bool) -> bool:
    """Ask for the runs that are missing; with `rehearse` only say how many these are. False where some could not be asked for,
    or the replay was cancelled. Raises ReplayRefused.
    """
    os.nice(NICE)
    return asyncio.run(_rehearse(settings, order, at_once) if rehearse else _publish(settings, order, at_once, ahead))


def show_status(settings: Settings, name: str, *, as_json: bool) -> None:
    """Raises ReplayRefused where there is no such replay."""
    records = records_of(settings)
    request = _known(records, name)
    found = asyncio.run(standing(settings, records, installed(), name, request))
    cancelled = records.replay_cancelled(name)
    if as_json:
        told = asdict(found) | {"published": found.published, "total": found.total}
        about = {"run": name, "request": request.model_dump(mode="json"), "stopped": cancelled}
        print(json.dumps(about | told))  # noqa: T201 - for programs
        return
    console = Console()
    console.print(_about(name, request, cancelled=cancelled), soft_wrap=True)
    console.print(_drawn(found))


def cancel(settings: Settings, name: str) -> bool:
    """Raises ReplayRefused where there is no such replay. False where a run could not be cancelled."""
    return asyncio.run(_cancel(settings, name))


def show_list(settings: Settings) -> None:
    table = Table("run", "from", "to", "of", "with", "started", "by", box=None, pad_edge=False, header_style="bold")
    records = records_of(settings)
    for name, request in records.replays():
        of = " ".join(str(each) for each in (request.state, request.operation) if each)
        params = " ".join(f"{key}={value}" for key, value in request.params.items())
        table.add_row(name, _short(request.since), _short(request.until), of, params, _short(request.at), request.by)
    Console().print(table if table.rows else "There are no replays.")


async def _rehearse(settings: Settings, order: Order, at_once: int) -> bool:
    console, eye = Console(), Console(stderr=True)
    records, operations = records_of(settings), installed()
    request = await asyncio.to_thread(request_of, settings, records, operations, order)
    console.print(_about(order.name, request), soft_wrap=True)
    async with connected(settings) if request.source is Source.TOPIC else nullcontext() as bus:
        survey = Survey(settings, records, operations, order.name, request, bus)
        await _look(survey, eye)
        with bar("looking at", survey.total, eye) as tell:
            tally = await survey.rehearse(at_once, tell)
    console.print(f"{_jobs(tally.done)} would be asked for{_rest(tally)}", highlight=False)
    return not tally.failed


async def _publish(settings: Settings, order: Order, at_once: int, ahead: int) -> bool:
    console, eye = Console(), Console(stderr=True)
    records, operations = records_of(settings), installed()
    request = await asyncio.to_thread(request_of, settings, records, operations, order)
    async with connected(settings) as bus:
        request = await asyncio.to_thread(start, records, order, request)
        console.print(_about(order.name, request), soft_wrap=True)
        publisher = Publisher(settings, bus, records, operations, order.name, request, ahead=ahead)
        await _look(publisher.survey, eye)
        with bar("asking for", publisher.survey.total, eye) as tell:
            tally = await publisher.publish(at_once, tell)
    if publisher.cancelled:
        console.print(f"The replay was cancelled after {_jobs(tally.done)}.", highlight=False)
        return False
    console.print(f"{_jobs(tally.done)} asked for{_rest(tally)}", highlight=False)
    console.print(f"How far they are: turnstream replay status {order.name}", style="dim", highlight=False)
    return not tally.failed


async def _look(survey: Survey, eye: Console) -> None:
    with eye.status("looking for jobs"):
        await survey.look()


async def _cancel(settings: Settings, name: str) -> bool:
    records = records_of(settings)
    request = await asyncio.to_thread(_known, records, name)
    async with connected(settings) as bus:
        with bar("cancelling", None, Console(stderr=True)) as tell:
            tally = await stopping.cancel_replay(settings, bus, records, name, request, tell)
    Console().print(f"{_jobs(tally.done)} cancelled, {tally.there} had ended, {tally.failed} failed", highlight=False)
    return not tally.failed


def _known(records: Records, name: str) -> ReplayRequest:
    """Blocks."""
    request = records.replay(name)
    if request is None:
        raise ReplayRefused(f"There is no replay {name}: `turnstream replay list` shows those there are")
    return request


def _about(name: str, request: ReplayRequest, *, cancelled: bool = False) -> Text:
    of = f"jobs of {request.operation}" if request.operation else "jobs"
    state = f"{request.state} " if request.state else ""
    params = "".join(f", {key}={value or '(as the service is set)'}" for key, value in request.params.items())
    text = f"{name}: {state}{of} accepted from {_short(request.since)} to {_short(request.until)}{params}"
    return Text(text + (", cancelled" if cancelled else ""), "bold")


def _drawn(found: Standing) -> Table:
    table = Table.grid(padding=(0, 2))
    share = f"{found.ended / found.possible:.0%}" if found.possible else "nothing to do"
    table.add_row("ended", ProgressBar(total=max(found.possible, 1), completed=found.ended, width=WIDTH), share)
    for name, count in asdict(found).items():
        table.add_row(name, "unknown" if count is None else str(count))
    table.add_row("total", str(found.total))
    return table


def _rest(tally: Tally) -> str:
    said = ((tally.there, "there before"), (tally.left, "left out"), (tally.failed, "could not be asked for"))
    return "".join(f", {count} {what}" for count, what in said if count)


def _jobs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _short(at: datetime) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S %z}"

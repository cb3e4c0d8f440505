"""`turnstream compare --replay NAME`: what a replay found differently, over all its jobs, the worst ones first."""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import reduce

from rich.console import Console, Group, RenderableType
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

from schemas.base import Value
from schemas.errors import InvalidRequest
from schemas.jobs import LIVE_RUN, JobState
from turnstream.client import Client
from turnstream.compare import compared, has_turns, rate, results, told
from turnstream.comparison import Comparison, Errors
from turnstream.settings import Settings
from turnstream.submit import first_key

SHOWN = 20
"""Jobs that are shown for the eye."""


class Row(Value):
    """A job that has both runs."""

    job_id: str
    der: float | None
    errors: Errors
    speakers_before: int
    speakers_after: int
    turns_changed: int


def compare_replay(
    settings: Settings,
    run: str,
    *,
    collar: float = 0.0,
    as_json: bool = False,
    url: str | None = None,
    key: str | None = None,
) -> None:
    """Against each job's first run. Raises InvalidRequest where no job of this key has results of both."""
    console = Console(stderr=as_json)
    columns = (SpinnerColumn(), TextColumn("{task.completed} jobs compared"))
    with (
        Client(url or settings.turnstream_url, key or first_key(settings)) as client,
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar,
    ):
        lacking = Counter[str]()
        rows = list(bar.track(_rows(client, run, collar, lacking)))
    if not rows:
        raise InvalidRequest(f"no job has results of both {LIVE_RUN} and {run}{_counted('; ', lacking)}")
    rows.sort(key=lambda row: -(row.der if row.der is not None else float("inf")))
    total = reduce(Errors.plus, (row.errors for row in rows))
    if as_json:
        document = {
            "run": run,
            "reference": LIVE_RUN,
            "collar": collar,
            "der": total.rate,
            "errors": total.model_dump(),
            "lacking": lacking,
        }
        json.dump(document | {"jobs": [row.model_dump() for row in rows]}, sys.stdout, indent=2)
        print()  # noqa: T201 - what the command is asked for
    else:
        console.print(_shown(rows, total, run, lacking))


def _rows(client: Client, run: str, collar: float, lacking: Counter[str]) -> Iterator[Row]:
    """`lacking` counts the jobs that have the run and no result of it, or of their first one, by the state of that run."""
    for job in client.jobs():
        if not has_turns(job.operation):
            continue
        states = {view.run: view.state for view in client.runs(job.id)}
        if run not in states:
            continue
        if missing := [state for state in (states[run], states[LIVE_RUN]) if state is not JobState.SUCCEEDED]:
            lacking[missing[0]] += 1
        else:
            (_, before), (_, after) = results(client, job.id, job.operation, (LIVE_RUN, run))
            yield _row(job.id, compared(before, after, collar))


def _row(job_id: str, found: Comparison) -> Row:
    return Row(
        job_id=job_id,
        der=found.der,
        errors=found.errors,
        speakers_before=sum(pair.before is not None for pair in found.speakers),
        speakers_after=sum(pair.after is not None for pair in found.speakers),
        turns_changed=len(found.changes),
    )


def _counted(before: str, lacking: Counter[str]) -> str:
    """Empty where no job lacks a result."""
    each = ", ".join(f"{count} {state}" for state, count in lacking.most_common())
    return f"{before}without a result: {each}" if each else ""


def _shown(rows: Sequence[Row], total: Errors, run: str, lacking: Counter[str]) -> RenderableType:
    heading = Text.assemble(
        (run, "bold"), " compared with ", (LIVE_RUN, "bold"), f", {len(rows)} jobs: {rate(total.rate)}"
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("job", no_wrap=True)
    for name in ("error rate", "speakers", "turns changed"):
        table.add_column(name, justify="right")
    for row in rows[:SHOWN]:
        der = "-" if row.der is None else f"{row.der:.1%}"
        table.add_row(row.job_id, der, f"{row.speakers_before} -> {row.speakers_after}", str(row.turns_changed))
    more = len(rows) - SHOWN
    rest = [Text(f"... and {more} more jobs; --json has all", "dim")] if more > 0 else []
    without = [Text(_counted("", lacking), "yellow")] if lacking else []
    return Group(Text(), heading, Text(told(total), "dim"), *without, Text(), table, *rest)

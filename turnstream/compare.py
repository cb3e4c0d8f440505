"""`turnstream compare`: what another computation of a job found differently, for the eye or for programs."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from schemas.errors import InvalidRequest, NotAcceptable
from schemas.jobs import JobState
from schemas.results import DiarizationResult, Segment, TranscriptResult
from schemas.turns import turns_of
from turnstream.client import Client
from turnstream.comparison import Change, Comparison, Errors, Kind, Pair, compare
from turnstream.operations import installed
from turnstream.settings import Settings
from turnstream.submit import first_key
from turnstream.timeline import LABEL_WIDTH, axis, bar, clock, colour

SHOWN = 20
"""Changed turns that are shown for the eye."""
Result = DiarizationResult | TranscriptResult


def compare_runs(
    settings: Settings,
    job_id: str,
    runs: Sequence[str] = (),
    *,
    collar: float = 0.0,
    as_json: bool = False,
    url: str | None = None,
    key: str | None = None,
) -> None:
    """The first of `runs` is what the others are compared with; none: all that the job has a result of. Raises InvalidRequest
    where there are not two, NotAcceptable where the operation does not say who spoke when, and what fetching a result does.
    """
    with Client(url or settings.turnstream_url, key or first_key(settings)) as client:
        found = dict(results(client, job_id, client.job(job_id).operation, runs or _done(client, job_id)))
    if len(found) < 2:
        raise InvalidRequest(f"there are not two runs of job {job_id} to compare: name them with --runs")
    (first, before), *others = found.items()
    comparisons = {run: compared(before, after, collar) for run, after in others}
    if as_json:
        json.dump(_document(job_id, first, collar, comparisons), sys.stdout, indent=2)
        print()  # noqa: T201 - what the command is asked for
        return
    console = Console()
    for run, comparison in comparisons.items():
        console.print(shown(console, (first, before), (run, found[run]), comparison))


def _done(client: Client, job_id: str) -> list[str]:
    return [view.run for view in client.runs(job_id) if view.state is JobState.SUCCEEDED]


def results(client: Client, job_id: str, operation: str, runs: Sequence[str]) -> Iterator[tuple[str, Result]]:
    """By run. Raises NotAcceptable where the operation does not say who spoke when."""
    if not has_turns(operation):
        raise NotAcceptable(f"a result of {operation} does not say who spoke when: there is nothing to compare")
    for run in runs:
        result: BaseModel = client.result(job_id, installed()[operation].result, run=run)
        if isinstance(result, DiarizationResult | TranscriptResult):
            yield run, result


def has_turns(operation: str) -> bool:
    known = installed()
    return operation in known and issubclass(known[operation].result, DiarizationResult | TranscriptResult)


def compared(before: Result, after: Result, collar: float) -> Comparison:
    duration = max(before.audio.duration, after.audio.duration)
    return compare(turns_of(before), turns_of(after), duration, collar)


def _document(job_id: str, first: str, collar: float, found: Mapping[str, Comparison]) -> dict[str, object]:
    compared = [{"run": run, **comparison.model_dump(mode="json")} for run, comparison in found.items()]
    return {"job_id": job_id, "reference": first, "collar": collar, "runs": compared}


# For the eye


def shown(console: Console, before: tuple[str, Result], after: tuple[str, Result], found: Comparison) -> RenderableType:
    (first, was), (run, now) = before, after
    heading = Text.assemble((run, "bold"), " compared with ", (first, "bold"), f": {rate(found.der)}")
    parts: list[RenderableType] = [Text(), heading, Text(told(found.errors), "dim"), Text()]
    parts += [_picture(console, (first, was), (run, now), found.speakers), Text(), Text(counted(found))]
    if found.changes:
        parts += [_changes(found.changes[:SHOWN])]
    if len(found.changes) > SHOWN:
        parts += [Text(f"... and {len(found.changes) - SHOWN} more changes; --json has all", "dim")]
    return Group(*parts)


def rate(der: float | None) -> str:
    return "nobody speaks in the first" if der is None else f"{der:.1%} diarization error rate"


def told(errors: Errors) -> str:
    return (
        f"of {errors.speech:.1f} s of speech: {errors.missed:.1f} s missed, {errors.false_alarm:.1f} s added, "
        f"{errors.confusion:.1f} s of another speaker"
    )


def counted(found: Comparison) -> str:
    kinds = {kind: sum(change.kind is kind for change in found.changes) for kind in Kind}
    says = ", ".join(f"{count} {_SAYS[kind]}" for kind, count in kinds.items() if count)
    return f"{found.turns_before} turns, then {found.turns_after}: {says or 'none has changed'}"


_SAYS = {Kind.ADDED: "added", Kind.REMOVED: "removed", Kind.MOVED: "moved", Kind.GIVEN: "given to another speaker"}


def _picture(
    console: Console, before: tuple[str, Result], after: tuple[str, Result], speakers: Sequence[Pair]
) -> RenderableType:
    """Two rows a speaker, one a run."""
    plain = not (console.encoding or "").lower().startswith("utf")
    (first, was), (run, now) = before, after
    names = [name for pair in speakers for name in (pair.before, pair.after) if name]
    label, runs = (min(LABEL_WIDTH, max(map(len, each), default=0)) for each in (names, (first, run)))
    duration = max(was.audio.duration, now.audio.duration)
    width = max(10, console.width - label - runs - 12)
    rows = Table.grid(padding=(0, 1))
    for size in (label, runs, width):
        rows.add_column(width=size, no_wrap=True)
    rows.add_column(justify="right", no_wrap=True)

    def row(style: str, name: str | None, run: str, turns: Sequence[Segment], time: float) -> None:
        drawn = bar([turn for turn in turns if turn.speaker == name], duration, width, plain=plain)
        paint = style if plain else f"{style} on grey15"
        rows.add_row(Text(name or "nobody", style), Text(run, "dim"), Text(drawn, paint), Text(clock(time), "dim"))

    for index, pair in enumerate(speakers):
        row(colour(index), pair.before, first, turns_of(was), pair.before_time)
        row(colour(index), pair.after, run, turns_of(now), pair.after_time)
    rows.add_row("", "", Text(axis(duration, width), "dim"))
    return rows


def _changes(changes: Sequence[Change]) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("change", "before", "after"):
        table.add_column(name, no_wrap=True)
    for change in changes:
        table.add_row(_SAYS[change.kind], _turn(change.before), _turn(change.after))
    return table


def _turn(turn: Segment | None) -> Text:
    return Text("" if turn is None else f"{clock(turn.start, 2)} - {clock(turn.end, 2)}  {turn.speaker}")

"""`turnstream replay`: the past computed once more."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from schemas.jobs import LIVE_RUN, RUN_NAMES, JobState, is_run_name
from turnstream import options
from turnstream.commands.app import app, example
from turnstream.settings import Settings

replay = typer.Typer(help="Compute the jobs of a stretch of time once more, beside what was found before.")
app.add_typer(replay, name="replay")


class From(StrEnum):
    RECORD = "record"
    TOPIC = "topic"


class Ended(StrEnum):
    FAILED = "failed"
    SUCCEEDED = "succeeded"
    CANCELLED = "cancelled"


def _run_name(text: str | None) -> str | None:
    """Raises BadParameter."""
    if text is None:
        return None
    if not is_run_name(text):
        raise typer.BadParameter(f"{text!r} is no name of a run: {RUN_NAMES}")
    if text == LIVE_RUN:
        raise typer.BadParameter(f"{LIVE_RUN} is the first run of each job: give the replay another name")
    return text


Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the replay.", show_default=False, callback=_run_name)]
_TIME = "A date or a time as in ISO 8601, or how long ago, such as 2h or 7d."


@replay.callback(
    invoke_without_command=True,
    epilog=example(
        "turnstream replay --from 7d --run fast --param mode=fast",
        "turnstream replay --from 2026-11-01 --to 2026-11-08 --state failed --run again",
        "turnstream replay --from 2h --operation diarize --run check --dry-run",
        "turnstream replay --run fast",
        "turnstream replay status fast",
    ),
)
def replay_jobs(  # noqa: PLR0913, PLR0917 - one for each option
    context: typer.Context,
    since: Annotated[str | None, typer.Option("--from", metavar="TIME", help=_TIME, show_default=False)] = None,
    until: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="The same, not included; now where absent.")
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Of the replay, and of the run that each job gets. The same name goes on with what is missing.",
            show_default=False,
            callback=_run_name,
        ),
    ] = None,
    operation: Annotated[str | None, typer.Option(help="Only jobs of this operation.", show_default=False)] = None,
    state: Annotated[
        Ended | None,
        typer.Option(help="Only jobs whose first run ended so; else all that were not cancelled.", show_default=False),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            metavar="NAME=VALUE",
            help="A parameter other than the job has it; an empty value takes it back. May be repeated.",
        ),
    ] = None,
    source: Annotated[
        From | None,
        typer.Option(
            help="Where jobs are found: in the object store (record), or in gpu-jobs on Apache Kafka (topic).",
            show_default="record",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many runs would be asked for.")] = False,
    at_once: Annotated[int, typer.Option(min=1, max=256, help="Runs that are being asked for at a time.")] = 8,
    ahead: Annotated[int, typer.Option(min=1, help="Runs that may wait in the broker at a time.")] = 1000,
) -> None:
    """Compute the jobs of a stretch of time once more, in the batch lane, beside what was found before.

    Interrupted and started again with the same name, it does only what is missing.
    """
    if context.invoked_subcommand is not None:
        return
    if run is None:
        raise typer.BadParameter("give the replay a name, which is that of its runs", param_hint="--run")
    from turnstream.records import Source
    from turnstream.replay.asking import Order
    from turnstream.replay.terminal import replay as publish

    order = Order(
        name=run,
        since=since,
        until=until,
        operation=operation,
        state=JobState(state) if state else None,
        params=_texts(options.given({}, param)),
        source=Source(source) if source else None,
    )
    if not publish(Settings(), order, at_once=at_once, ahead=ahead, rehearse=dry_run):
        raise typer.Exit(1)


@replay.command(epilog=example("turnstream replay status fast", "turnstream replay status fast --json | jq .missing"))
def status(
    name: Name, json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False
) -> None:
    """Say how many runs of a replay wait, ended well, failed, and are missing."""
    from turnstream.replay.terminal import show_status

    show_status(Settings(), name, as_json=json)


@replay.command(epilog=example("turnstream replay cancel fast"))
def cancel(name: Name) -> None:
    """Stop a replay for good: nothing more is asked for, and what has not ended is cancelled. Results stay."""
    from turnstream.replay.terminal import cancel as stop

    if not stop(Settings(), name):
        raise typer.Exit(1)


@replay.command("list")
def list_replays() -> None:
    """List the replays there are."""
    from turnstream.replay.terminal import show_list

    show_list(Settings())


def _texts(given: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in given.items()}

"""`turnstream backfill`: an archive of recordings."""

from pathlib import Path
from typing import Annotated

import typer

from schemas.jobs import DEFAULT_OPERATION, Lane
from turnstream import options
from turnstream.commands.app import app, example
from turnstream.operations import installed
from turnstream.settings import Settings

ARCHIVE = "The archive"
MOST_AT_ONCE = 100


@app.command(
    epilog=example(
        "turnstream backfill recordings --ext mp3 --ext wav",
        "turnstream backfill recordings --out results --format rttm --at-once 32",
        "turnstream backfill list.txt --operation transcript --language en",
        "find /srv/calls -name '*.opus' | turnstream backfill - --out results",
    )
)
def backfill(  # noqa: PLR0913, PLR0917 - one for each option
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DIR|LIST", help="A folder, or a list of paths, one a line; - reads them.", show_default=False
        ),
    ],
    operation: options.WhichOperation = DEFAULT_OPERATION,
    num_speakers: options.NumSpeakers = None,
    min_speakers: options.MinSpeakers = None,
    max_speakers: options.MaxSpeakers = None,
    mode: options.HowComputed = None,
    channels: options.WhichChannels = None,
    embeddings: options.Embeddings = None,
    min_duration_off: options.MinDurationOff = None,
    min_duration_on: options.MinDurationOn = None,
    language: options.Language = None,
    param: options.Others = None,
    lane: Annotated[
        Lane, typer.Option(help="batch is for what nobody waits for; interactive is served first.")
    ] = Lane.BATCH,
    at_once: Annotated[
        int, typer.Option(metavar="N", min=1, max=MOST_AT_ONCE, help="Files that are under way at a time.")
    ] = 16,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Or only hand in: the same command fetches the results later.")
    ] = True,
    ext: Annotated[
        list[str] | None,
        typer.Option(help="Only files of this kind, such as mp3; may be repeated.", rich_help_panel=ARCHIVE),
    ] = None,
    glob: Annotated[
        list[str] | None,
        typer.Option(
            help="Only files whose name is like this, or whose path is where it has a slash; may be repeated.",
            rich_help_panel=ARCHIVE,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where results go, in the folders of the archive; else each beside its recording.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    format_: Annotated[
        str | None,
        typer.Option("--format", help="Of the results: json, rttm, csv and so on.", rich_help_panel=options.OUTPUT),
    ] = None,
    failures: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What failed, a JSON object a line; else turnstream-failures.jsonl beside the results.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What is remembered of the archive; else .turnstream-backfill.sqlite beside the results.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    url: options.Url = None,
    key: options.Key = None,
) -> None:
    """Have an archive of recordings computed, each once, and put the results beside them or into a folder.

    It may be stopped or killed at any time: the same command goes on. What is done is not done again, by the content of the
    files. What failed is listed in a file, and tried again by the next call. Exit code 1 where something failed.
    """
    said = options.given(options.named(locals()), param)
    from turnstream.backfill.archive import Choice
    from turnstream.backfill.run import Places
    from turnstream.backfill.run import backfill as fill
    from turnstream.backfill.work import Work

    wanted = options.one_of(installed(), operation, "--operation")
    if not wanted.audio:
        raise typer.BadParameter(f"{operation} takes no recording", param_hint="--operation")
    name = format_ or next(iter(wanted.formats))
    options.one_of(wanted.formats, name, "--format")
    work = Work(wanted, options.params(wanted, said), name, lane=lane, out=out, wait=wait)
    choice = Choice(tuple(glob or ()), tuple(part for each in ext or () for part in each.split(",")))
    places = Places(failures=failures, state=state)
    if not fill(Settings(), source, work, at_once=at_once, choice=choice, places=places, url=url, key=key):
        raise typer.Exit(1)

"""The commands and their options. Each only parses, and hands over to the module that does it."""

import asyncio
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from schemas.jobs import MAX_SPEAKERS, DiarizeParams
from turnstream import __version__
from turnstream.settings import Settings

EPILOG = "Exit codes: 0 done, 1 failed, 2 wrong call or this machine is not ready, 130 stopped with Ctrl-C."

app = typer.Typer(
    name="turnstream",
    help="Who spoke when, for any amount of audio.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

Speakers = Annotated[int | None, typer.Option(min=1, max=MAX_SPEAKERS, metavar="N")]


class Format(StrEnum):
    JSON = "json"
    RTTM = "rttm"


def example(*lines: str) -> str:
    return "\n\n".join(("[bold]Examples[/bold]", *(f"  $ {line}" for line in lines)))


@app.command(
    epilog=example(
        "turnstream up",
        "turnstream up --data /srv/turnstream --port 8080",
        "turnstream up --workers 2",
        "API_KEY=secret turnstream up --host 0.0.0.0",
    )
)
def up(
    data: Annotated[
        Path | None, typer.Option(help="Directory for recordings, results and state [dim](DATA_DIR)[/dim].")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address the API listens on [dim](HOST)[/dim].")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Its port [dim](PORT)[/dim]; 0 takes a free one.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Workers, each on a GPU where there are some [dim](WORKERS)[/dim]."),
    ] = None,
) -> None:
    """Run the whole stack in this terminal: broker, API and worker. Ctrl-C stops it.

    What dies is started again. With KAFKA_BOOTSTRAP_SERVERS no broker is started, and that one is used.
    """
    from turnstream import lifeline, local
    from turnstream.child import Terminal

    lifeline.watch(local.STOP_LIMIT)
    given = {"data_dir": data, "host": host, "port": port, "workers": workers}
    settings = Settings(**{name: value for name, value in given.items() if value is not None})  # pyright: ignore[reportArgumentType]
    asyncio.run(local.up(settings, Terminal(sys.stdout)))


@app.command(
    epilog=example(
        "turnstream submit meeting.mp3",
        "turnstream submit meeting.mp3 --max-speakers 4 --out meeting.json",
        "turnstream submit meeting.mp3 --format rttm > meeting.rttm",
        "turnstream submit meeting.mp3 --url https://diarize.example.org --key secret",
    )
)
def submit(
    file: Annotated[Path, typer.Argument(help="A recording in any usual format.", show_default=False)],
    url: Annotated[str | None, typer.Option(help="Address of the service [dim](TURNSTREAM_URL)[/dim].")] = None,
    key: Annotated[str | None, typer.Option(help="API key [dim](API_KEY)[/dim].")] = None,
    num_speakers: Speakers = None,
    min_speakers: Speakers = None,
    max_speakers: Speakers = None,
    out: Annotated[Path | None, typer.Option(help="Write the result to this file.")] = None,
    format_: Annotated[
        Format | None, typer.Option("--format", help="Of the result; without --out it goes to standard output.")
    ] = None,
) -> None:
    """Send a recording to a running service and show who spoke when."""
    from turnstream.submit import submit as send

    params = DiarizeParams(num_speakers=num_speakers, min_speakers=min_speakers, max_speakers=max_speakers)
    send(Settings(), file, params, url=url, key=key, out=out, format_=format_)


@app.command(epilog=example("turnstream demo", "turnstream demo talk.mp3 --out talk.json"))
def demo(
    audio: Annotated[Path | None, typer.Argument(help="A recording; without one, a sample with its reference.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the result here, RTTM and picture beside it [dim](demo-output/)[/dim].")
    ] = None,
) -> None:
    """Start a stack of its own, send one recording through it, show the result and the figures, stop everything."""
    from turnstream.demo import demo as show

    show(Settings(), audio, out)


@app.command(epilog=example("turnstream doctor", "TURNSTREAM_URL=https://diarize.example.org turnstream doctor"))
def doctor() -> None:
    """Say what is installed, found, running, and missing; exit code 1 where something is missing."""
    from turnstream.doctor import doctor as examine

    if not examine(Settings()):
        raise typer.Exit(1)


@app.command()
def version() -> None:
    """Say which version this is."""
    typer.echo(__version__)

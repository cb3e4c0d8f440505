"""`turnstream up|demo|doctor|version`: the stack on this machine."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from turnstream import __version__
from turnstream.commands.app import app, example
from turnstream.settings import Settings


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
    broker_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Port of the broker, for those who subscribe [dim](BROKER_PORT)[/dim]; else a free one.",
        ),
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

    given = {"data_dir": data, "host": host, "port": port, "broker_port": broker_port, "workers": workers}
    settings = Settings(**{name: value for name, value in given.items() if value is not None})  # pyright: ignore[reportArgumentType]
    lifeline.watch(local.stop_limit(settings))
    asyncio.run(local.up(settings, Terminal(sys.stdout)))


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

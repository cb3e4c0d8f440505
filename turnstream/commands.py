"""The commands and their options. Each only parses, and hands over to the module that does it."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from schemas.jobs import DEFAULT_OPERATION, Lane, TranscriptParams
from turnstream import __version__, options
from turnstream.operations import installed
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

    given = {"data_dir": data, "host": host, "port": port, "workers": workers}
    settings = Settings(**{name: value for name, value in given.items() if value is not None})  # pyright: ignore[reportArgumentType]
    lifeline.watch(local.stop_limit(settings))
    asyncio.run(local.up(settings, Terminal(sys.stdout)))


@app.command(
    epilog=example(
        "turnstream submit meeting.mp3",
        "turnstream submit meeting.mp3 --max-speakers 4 --mode fast --out meeting.json",
        "turnstream submit call.wav --channels split",
        "turnstream submit meeting.mp3 --operation transcript --language en --format vtt > meeting.vtt",
        "turnstream submit meeting.mp3 --format rttm --url https://diarize.example.org --key secret",
    )
)
def submit(  # noqa: PLR0913, PLR0917 - one for each option
    file: Annotated[
        Path | None,
        typer.Argument(
            help="A recording in any usual format; none where the operation takes none.", show_default=False
        ),
    ] = None,
    operation: Annotated[
        str, typer.Option(help="diarize, transcribe, transcript, or what a plug-in adds.")
    ] = DEFAULT_OPERATION,
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
        Lane, typer.Option(help="interactive is served first; batch is for what nobody waits for.")
    ] = Lane.INTERACTIVE,
    out: options.Out = None,
    format_: options.FormatName = None,
    url: options.Url = None,
    key: options.Key = None,
) -> None:
    """Send a recording to a running service and show who spoke when, what was said, or both."""
    said = options.given(_named(locals()), param)
    from turnstream.submit import submit as send

    wanted = options.one_of(installed(), operation, "--operation")
    if format_ is not None:
        options.one_of(wanted.formats, format_, "--format")
    if (file is not None) is not wanted.audio:
        raise typer.BadParameter(
            f"{operation} {'wants a' if wanted.audio else 'takes no'} recording", param_hint="FILE"
        )
    send(Settings(), file, wanted, options.params(wanted, said), lane=lane, url=url, key=key, out=out, format_=format_)


@app.command(
    epilog=example(
        "turnstream rerun 019ada3c-1f00-7a31-9c41-0d2f6c1b7e55 --num-speakers 3",
        "turnstream rerun 019ada3c-1f00-7a31-9c41-0d2f6c1b7e55 --num-speakers 6 --without max_speakers",
        "turnstream rerun 019ada3c-1f00-7a31-9c41-0d2f6c1b7e55 --run tidy --min-duration-off 0.5 --format rttm",
    )
)
def rerun(  # noqa: PLR0913, PLR0917 - one for each option
    job: Annotated[str, typer.Argument(metavar="ID", help="Of the job, as `submit` shows it.", show_default=False)],
    run: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the run; else the next of run-2, run-3 and so on.")
    ] = "",
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
    without: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Take a parameter of the job back; may be repeated.")
    ] = None,
    out: options.Out = None,
    format_: options.FormatName = None,
    url: options.Url = None,
    key: options.Key = None,
) -> None:
    """Compute a job once more with other parameters, such as the right number of speakers.

    What is not said stays as the job has it, and so does the result that is there.
    Another number of speakers takes seconds, because nothing is computed twice.
    """
    said = dict.fromkeys(without or (), "") | options.given(_named(locals()), param)
    from turnstream.submit import rerun as compute

    compute(Settings(), job, said, run=run, url=url, key=key, out=out, format_=format_)


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


layout = typer.Typer(help="Show how jobs spread over the partitions of the broker, or let them spread over more.")
app.add_typer(layout, name="layout")


@layout.callback(invoke_without_command=True, epilog=example("turnstream layout", "turnstream layout grow 4"))
def show_layout(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        from turnstream.layout import show

        show(Settings())


@layout.command(epilog=example("turnstream layout grow 4"))
def grow(
    groups: Annotated[int, typer.Argument(min=1, max=1024, help="How many groups of partitions there shall be.")],
) -> None:
    """Append partitions, so that more workers can share the jobs; docs/operations.md has the whole procedure."""
    from turnstream.layout import grow as let_grow

    let_grow(Settings(), groups)


dlq = typer.Typer(
    help="Show what could not be done and was set aside, and ask for it again.",
    epilog=example(
        "turnstream dlq list",
        "turnstream dlq show 17",
        "turnstream dlq requeue --error engine_crashed",
        "DATA_DIR=/srv/turnstream turnstream dlq list --json",
    ),
    no_args_is_help=True,
)
app.add_typer(dlq, name="dlq")
Offset = Annotated[int, typer.Argument(min=0, help="As `turnstream dlq list` shows it.", show_default=False)]


@dlq.command("list", epilog=example("turnstream dlq list", "turnstream dlq list --json | jq .error"))
def list_letters(
    json: Annotated[bool, typer.Option("--json", help="A JSON object a line, for programs.")] = False,
) -> None:
    """List the dead letters: what was set aside, when and why."""
    from turnstream.dlq import show_list

    show_list(Settings(), as_json=json)


@dlq.command("show", epilog=example("turnstream dlq show 17", "turnstream dlq show 17 --out record.bin"))
def show_letter(
    offset: Offset,
    out: Annotated[Path | None, typer.Option(help="Write the value there as it came.", show_default=False)] = None,
) -> None:
    """Show a dead letter: its key, headers and value."""
    from turnstream.dlq import show_one

    show_one(Settings(), offset, out)


@dlq.command(
    epilog=example(
        "turnstream dlq requeue 17 18",
        "turnstream dlq requeue --error engine_out_of_memory",
        "turnstream dlq requeue --all",
    )
)
def requeue(
    offsets: Annotated[
        list[int] | None,
        typer.Argument(metavar="OFFSET", min=0, help="As `turnstream dlq list` shows them.", show_default=False),
    ] = None,
    error: Annotated[str | None, typer.Option(metavar="CODE", help="All with this code of an error.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All there are.")] = False,
) -> None:
    """Ask again for what dead letters asked for, once: the job gets a further run, dlq-OFFSET.

    What is already asked for again is only told. Exit code 1 where something could not be asked for.
    """
    from turnstream.dlq import requeue as ask_again

    if [bool(offsets), error is not None, all_].count(True) != 1:
        raise typer.BadParameter("say which: their offsets, or --error CODE, or --all", param_hint="OFFSET")
    if not ask_again(Settings(), offsets or (), error):
        raise typer.Exit(1)


def _named(values: Mapping[str, object]) -> dict[str, object]:
    """Those of a command's options that have the name of a parameter."""
    return {name: values[name] for name in TranscriptParams.model_fields if name in values}

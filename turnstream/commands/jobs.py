"""`turnstream submit|rerun`: one recording, sent to a running service."""

from pathlib import Path
from typing import Annotated

import typer

from schemas.jobs import DEFAULT_OPERATION, Lane
from turnstream import options
from turnstream.commands.app import app, example
from turnstream.operations import installed
from turnstream.settings import Settings


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
        Lane, typer.Option(help="interactive is served first; batch is for what nobody waits for.")
    ] = Lane.INTERACTIVE,
    webhook_url: Annotated[
        str, typer.Option(metavar="URL", help="Where the end of the job is told as well.", show_default=False)
    ] = "",
    out: options.Out = None,
    format_: options.FormatName = None,
    url: options.Url = None,
    key: options.Key = None,
) -> None:
    """Send a recording to a running service and show who spoke when, what was said, or both."""
    said = options.given(options.named(locals()), param)
    from turnstream.submit import submit as send

    wanted = options.one_of(installed(), operation, "--operation")
    if format_ is not None:
        options.one_of(wanted.formats, format_, "--format")
    if (file is not None) is not wanted.audio:
        raise typer.BadParameter(
            f"{operation} {'wants a' if wanted.audio else 'takes no'} recording", param_hint="FILE"
        )
    send(
        Settings(),
        file,
        wanted,
        options.params(wanted, said),
        lane=lane,
        webhook_url=webhook_url or None,
        url=url,
        key=key,
        out=out,
        format_=format_,
    )


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
    said = dict.fromkeys(without or (), "") | options.given(options.named(locals()), param)
    from turnstream.submit import rerun as compute

    compute(Settings(), job, said, run=run, url=url, key=key, out=out, format_=format_)

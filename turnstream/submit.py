"""`turnstream submit` and `rerun`: have a job computed, show how far it is, show what was found."""

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from uuid import uuid4

from pydantic import BaseModel
from rich.console import Console
from rich.pretty import Pretty
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from schemas.base import Form
from schemas.errors import FileUnusable, InternalError, JobCancelled, NotAcceptable, UnknownOperation, from_info
from schemas.jobs import DEFAULT_OPERATION, DiarizeParams, JobState, JobView, Lane
from schemas.operation import Operation
from schemas.results import DiarizationResult, TranscriptionResult, TranscriptResult
from schemas.subtitles import one_line
from turnstream.client import Client
from turnstream.operations import installed
from turnstream.settings import Settings
from turnstream.timeline import said_table, speakers_table, timeline, turns_table


def submit(  # noqa: PLR0913 - one for each option
    settings: Settings,
    file: Path | None,
    operation: Operation,
    params: Form,
    *,
    lane: Lane = Lane.INTERACTIVE,
    webhook_url: str | None = None,
    url: str | None = None,
    key: str | None = None,
    out: Path | None = None,
    format_: str | None = None,
) -> None:
    """With `format_`, a name of the operation's formats, alone the result goes to standard output, and everything for the
    eye to standard error.
    """
    console = Console(stderr=format_ is not None and out is None)
    with Client(url or settings.turnstream_url, key or first_key(settings)) as client:
        job = run(client, file, operation.name, params, console, lane, webhook_url)
        result = client.result(job.id, operation.result)
    show(result, console)
    console.print(f"\njob {job.id}", style="dim", highlight=False)
    hand_over(result, operation, console, out, format_)


def rerun(
    settings: Settings,
    job_id: str,
    params: Mapping[str, object],
    *,
    run: str = "",
    url: str | None = None,
    key: str | None = None,
    out: Path | None = None,
    format_: str | None = None,
) -> None:
    """The same for another run of a job that is there."""
    console = Console(stderr=format_ is not None and out is None)
    with Client(url or settings.turnstream_url, key or first_key(settings)) as client:
        operation = _operation(client.job(job_id).operation)
        if format_ is not None and format_ not in operation.formats:
            raise NotAcceptable(f"{operation.name} has no format {format_!r}; it has {', '.join(operation.formats)}")
        started = client.rerun(job_id, params, run=run)
        finish(client, started, console)
        result = client.result(job_id, operation.result, run=started.run)
    show(result, console)
    console.print(f"\njob {job_id}, run {started.run}", style="dim", highlight=False)
    hand_over(result, operation, console, out, format_)


def _operation(name: str) -> Operation:
    known = installed()
    if name not in known:
        raise UnknownOperation(f"the operation {name} of this job is not installed here")
    return known[name]


def hand_over(result: BaseModel, operation: Operation, console: Console, out: Path | None, format_: str | None) -> None:
    """To a file, or to standard output, or nowhere."""
    if out is None and format_ is None:
        return
    chosen = operation.formats[format_] if format_ else next(iter(operation.formats.values()))
    written = chosen.write(result)
    content = written.encode() if isinstance(written, str) else written
    if out is not None:
        write(out, content)
        console.print(f"written: {out}", style="dim")
    else:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


def first_key(settings: Settings) -> str | None:
    return next(iter(settings.api_keys.values()), None)


def follow(client: Client, file: Path, params: DiarizeParams, console: Console) -> DiarizationResult:
    """Who spoke when in a recording: `run` and fetch."""
    return client.result(run(client, file, DEFAULT_OPERATION, params, console).id)


def run(
    client: Client,
    file: Path | None,
    operation: str,
    params: Form,
    console: Console,
    lane: Lane = Lane.INTERACTIVE,
    webhook_url: str | None = None,
) -> JobView:
    """Upload and wait. Raises the error the job failed with; Ctrl-C leaves the job to go on."""
    return finish(client, upload(client, file, operation, params, console, lane, webhook_url), console)


def finish(client: Client, started: JobView, console: Console) -> JobView:
    """Wait for a run. Raises the error it failed with; Ctrl-C leaves it to go on."""
    try:
        view = watch(client, started, console)
    except KeyboardInterrupt:
        console.print(f"job {started.id} goes on: {client.url}/api/v1/jobs/{started.id}?run={started.run}")
        raise
    if view.state is JobState.CANCELLED:
        raise JobCancelled(f"job {view.id} was cancelled")
    if view.error is not None:
        raise from_info(view.error)
    return view


def upload(
    client: Client,
    file: Path | None,
    operation: str,
    params: Form,
    console: Console,
    lane: Lane,
    webhook_url: str | None,
) -> JobView:
    key = str(uuid4())  # whatever breaks on the way, it is one job
    send = partial(client.submit, file, params, operation=operation, lane=lane, idempotency_key=key)
    if file is None:
        return send(webhook_url=webhook_url)
    if file.is_dir():
        raise FileUnusable(f"{file} is a folder: `turnstream backfill {file}` takes all that is in it")
    if not file.is_file():
        raise FileUnusable(f"there is no file {file}")
    columns = (TextColumn("sending  "), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=file.stat().st_size)
        return send(webhook_url=webhook_url, sent=partial(bar.advance, task))


def watch(client: Client, started: JobView, console: Console) -> JobView:
    """The run as it ended."""
    columns = (SpinnerColumn(), TextColumn("{task.description:<13}"), BarColumn(), TimeElapsedColumn())
    view: JobView | None = None
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(JobState.QUEUED.value, total=None)
        for view in client.wait(started.id, run=started.run):
            if view.ahead:
                bar.update(task, description=f"{view.ahead} ahead")
            if view.progress is not None:
                bar.update(task, description=view.progress.stage, total=1.0, completed=view.progress.fraction)
    if view is None:
        raise InternalError(f"job {started.id} has no state")
    return view


def show(result: BaseModel, console: Console) -> None:
    """Who spoke when, who said what, what was said; of other operations' results whatever they hold."""
    if console.is_terminal:
        console.print()
    match result:
        case DiarizationResult():
            console.print(timeline(result, console))
            if result.overlap_share:
                console.print(Text(f"several speak at once in {result.overlap_share:.1%} of the speech", "dim"))
            console.print()
            console.print(turns_table(result))
        case TranscriptResult():
            console.print(said_table(result))
            if result.speaker_stats:
                console.print()
                console.print(speakers_table(result))
        case TranscriptionResult():
            console.print(Text(one_line(result.text)))
        case _:
            console.print(Pretty(result.model_dump(), max_string=200))
    for warning in getattr(result, "warnings", ()):
        console.print(Text(f"warning: {warning}", "yellow"))


def write(path: Path, content: str | bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise FileUnusable(f"{error.filename}: {error.strerror}") from error

"""`turnstream submit`: send a recording, show how far it is, show who spoke when."""

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from schemas.errors import FileUnusable, InternalError, JobCancelled, from_info
from schemas.formats import FORMATS
from schemas.jobs import DiarizeParams, JobState, JobView
from schemas.results import DiarizationResult
from turnstream.client import Client
from turnstream.settings import Settings
from turnstream.timeline import timeline, turns_table


def submit(
    settings: Settings,
    file: Path,
    params: DiarizeParams,
    *,
    url: str | None = None,
    key: str | None = None,
    out: Path | None = None,
    format_: str | None = None,
) -> None:
    """With `format_` alone the result goes to standard output, and everything for the eye to standard error."""
    piped = format_ is not None and out is None
    console = Console(stderr=piped)
    with Client(url or settings.turnstream_url, key or first_key(settings)) as client:
        result = follow(client, file, params, console)
    show(result, console)
    text = FORMATS[format_ or "json"][1](result)
    if out is not None:
        write(out, text)
        console.print(f"written: {out}", style="dim")
    elif piped:
        Console(soft_wrap=True, highlight=False, markup=False).print(text, end="")


def first_key(settings: Settings) -> str | None:
    return next(iter(settings.api_keys.values()), None)


def follow(client: Client, file: Path, params: DiarizeParams, console: Console) -> DiarizationResult:
    """Upload, wait, fetch. Raises the error the job failed with; Ctrl-C leaves the job to go on."""
    job: JobView | None = None
    try:
        job = upload(client, file, params, console)
        view = watch(client, job.id, console)
    except KeyboardInterrupt:
        if job is not None:
            console.print(f"job {job.id} goes on: {client.url}/api/v1/jobs/{job.id}")
        raise
    if view.state is JobState.CANCELLED:
        raise JobCancelled(f"job {view.id} was cancelled")
    if view.error is not None:
        raise from_info(view.error)
    return client.result(view.id)


def upload(client: Client, file: Path, params: DiarizeParams, console: Console) -> JobView:
    if not file.is_file():
        raise FileUnusable(f"there is no file {file}")
    columns = (TextColumn("sending  "), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=file.stat().st_size)
        return client.submit(file, params, sent=lambda size: bar.advance(task, size))


def watch(client: Client, job_id: str, console: Console) -> JobView:
    """The job as it ended."""
    columns = (SpinnerColumn(), TextColumn("{task.description:<13}"), BarColumn(), TimeElapsedColumn())
    view: JobView | None = None
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(JobState.QUEUED.value, total=None)
        for view in client.wait(job_id):
            if view.progress is not None:
                bar.update(task, description=view.progress.stage, total=1.0, completed=view.progress.fraction)
    if view is None:
        raise InternalError(f"job {job_id} has no state")
    return view


def show(result: DiarizationResult, console: Console) -> None:
    console.print()
    console.print(timeline(result, console))
    console.print()
    console.print(turns_table(result))
    for warning in result.warnings:
        console.print(f"warning: {warning}", style="yellow")


def write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise FileUnusable(f"{error.filename}: {error.strerror}") from error

"""`turnstream compare`: the runs of a job."""

from typing import Annotated

import typer

from turnstream import options
from turnstream.commands.app import app, example
from turnstream.settings import Settings


@app.command(
    epilog=example(
        "turnstream compare 019ada3c-1f00-7a31-9c41-0d2f6c1b7e55",
        "turnstream compare 019ada3c-1f00-7a31-9c41-0d2f6c1b7e55 --runs live,fast --collar 0.25",
        "turnstream compare 019ada3c-1f00-7a31-9c41-0d2f6c1b7e55 --json | jq '.runs[].der'",
    )
)
def compare(
    job: Annotated[str, typer.Argument(metavar="ID", help="Of the job.", show_default=False)],
    runs: Annotated[
        str,
        typer.Option(
            metavar="NAME,NAME", help="What the others are compared with comes first; else all runs there are."
        ),
    ] = "",
    collar: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0, help="Count no errors so near to each beginning and end of the first run's turns."
        ),
    ] = 0.0,
    json: Annotated[bool, typer.Option("--json", help="For programs, with every turn that changed.")] = False,
    url: options.Url = None,
    key: options.Key = None,
) -> None:
    """Show how the runs of a job differ: diarization error rate, whose speaker is whose, which turns changed."""
    from turnstream.compare import compare_runs

    names = [name.strip() for name in runs.split(",") if name.strip()]
    compare_runs(Settings(), job, names, collar=collar, as_json=json, url=url, key=key)

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
        "turnstream compare --replay fast",
    )
)
def compare(
    job: Annotated[str | None, typer.Argument(metavar="ID", help="Of the job.", show_default=False)] = None,
    runs: Annotated[
        str,
        typer.Option(
            metavar="NAME,NAME", help="What the others are compared with comes first; else all runs there are."
        ),
    ] = "",
    replay: Annotated[
        str | None, typer.Option(metavar="NAME", help="All jobs of a replay with their first runs, the worst first.")
    ] = None,
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
    if (job is None) is (replay is None):
        raise typer.BadParameter("say which: the ID of a job, or --replay NAME", param_hint="ID")
    names = [name.strip() for name in runs.split(",") if name.strip()]
    if job is not None:
        from turnstream.compare import compare_runs

        compare_runs(Settings(), job, names, collar=collar, as_json=json, url=url, key=key)
    elif replay is not None:
        from turnstream.compare_replay import compare_replay

        if names:
            raise typer.BadParameter("a replay is compared with the first runs: leave --runs out", param_hint="--runs")
        compare_replay(Settings(), replay, collar=collar, as_json=json, url=url, key=key)

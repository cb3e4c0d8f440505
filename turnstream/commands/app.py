"""The application that the commands belong to."""

from typing import Annotated

import typer

from turnstream import __version__

EPILOG = """\
Exit codes: 0 done, 1 failed, 2 wrong call or this machine is not ready, 130 stopped with Ctrl-C.

Documentation: docs/tutorial.md to begin with; docs/rest.md, docs/subscribe.md and docs/replay.md are the three ways of use, \
docs/production.md is for whoever runs it, docs/README.md has all of it.
"""

app = typer.Typer(
    name="turnstream",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def turnstream(
    version: Annotated[bool, typer.Option("--version", help="Say which version this is.")] = False,
) -> None:
    """Who spoke when, for any amount of audio."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


def example(*lines: str) -> str:
    return "\n\n".join(("[bold]Examples[/bold]", *(f"  $ {line}" for line in lines)))

"""`turnstream dlq list|show|requeue`: what was set aside."""

from pathlib import Path
from typing import Annotated

import typer

from turnstream.commands.app import app, example
from turnstream.settings import Settings

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

"""`turnstream layout`: how jobs spread over partitions."""

from typing import Annotated

import typer

from turnstream.commands.app import app, example
from turnstream.settings import Settings

layout = typer.Typer(help="Show how jobs spread over the partitions of the broker, or let them spread over more.")
app.add_typer(layout, name="layout")


@layout.callback(invoke_without_command=True, epilog=example("turnstream layout", "turnstream layout grow 4"))
def show_layout(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        from turnstream.layout import show

        show(Settings())


@layout.command(epilog=example("turnstream layout create"))
def create(
    wait: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How long to wait for broker and object store.")
    ] = 120,
) -> None:
    """Make the topics that are missing, of PARTITION_GROUPS; services do it themselves where nobody did."""
    from turnstream.layout import create as make

    make(Settings(), wait)


@layout.command(epilog=example("turnstream layout grow 4"))
def grow(
    groups: Annotated[int, typer.Argument(min=1, max=1024, help="How many groups of partitions there shall be.")],
) -> None:
    """Append partitions, so that more workers can share the jobs; docs/operations.md has the whole procedure."""
    from turnstream.layout import grow as let_grow

    let_grow(Settings(), groups)

"""`turnstream layout`: how jobs spread over partitions, and over more of them: docs/operations.md has the procedure."""

import asyncio
import time

from rich.console import Console
from rich.table import Table

from schemas.errors import InfrastructureError, LayoutMismatch, SettingsInvalid
from schemas.topics import Layout, Topic
from turnstream import bus as buses
from turnstream import object_store as stores
from turnstream import run_dir
from turnstream.connected import records_of
from turnstream.operations import installed, result_topics
from turnstream.records import Records
from turnstream.settings import BrokerKind, Settings

POLL = 0.5
"""Seconds between two tries to reach what does not answer yet."""


def create(settings: Settings, within: float) -> None:
    """The layout of PARTITION_GROUPS and its topics, as far as they are not there, once broker and store answer.

    Raises LayoutMismatch where they are there otherwise, and what keeps one of them away for more than `within` seconds.
    """
    if not settings.kafka_bootstrap_servers:
        raise SettingsInvalid("set KAFKA_BOOTSTRAP_SERVERS: the embedded broker gets its topics from `turnstream up`")
    layout = asyncio.run(_created(settings, within))
    Console().print(f"{Topic.JOBS} has {layout.topics()[0].partitions} partitions; all topics are there.")


async def _created(settings: Settings, within: float) -> Layout:
    records, bus, operations = Records(stores.connect(settings)), buses.connect(settings), installed()
    deadline = time.monotonic() + within
    await bus.start()
    try:
        while True:
            try:
                layout = await asyncio.to_thread(records.agree_on_layout, settings.partition_groups, operations)
                await bus.ensure_topics(layout.topics(result_topics(operations)))
                return layout
            except InfrastructureError as error:
                if isinstance(error, LayoutMismatch) or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(POLL)
    finally:
        await bus.close()
        records.store.close()


def show(settings: Settings) -> None:
    console = Console()
    layout = _in_force(records_of(settings))
    console.print(
        f"{layout.groups} group(s) of {layout.slots} partitions, {len(layout.slot)} slots taken", style="bold"
    )
    console.print(_slots(layout))
    console.print()
    console.print(_topics(layout))


def grow(settings: Settings, groups: int) -> None:
    """On Apache Kafka the partitions come first and the layout says so afterwards: what is interrupted is done again.

    The embedded broker keeps nothing and cannot append: it takes the new layout with its next start. Raises DataDirInUse
    while it runs, LayoutMismatch where groups would become fewer.
    """
    records = records_of(settings)
    console = Console()
    if settings.broker is BrokerKind.KAFKA:
        asyncio.run(_on_broker(settings, records, groups))
        console.print(f"{Topic.JOBS} has {_in_force(records).topics()[0].partitions} partitions now.")
        console.print(f"From now on set PARTITION_GROUPS={groups} for what is started: workers first, then the API.")
    else:
        with run_dir.locked(settings.data_dir):
            _in_force(records)
            records.grow_layout(groups)
        console.print("The embedded broker makes its topics anew, with as many partitions, when the stack is started.")


async def append(bus: buses.Bus, records: Records, groups: int) -> Layout:
    """Raises LayoutMismatch, BrokerUnavailable, StoreUnavailable; called again it does what is missing."""
    layout = await asyncio.to_thread(_in_force, records)
    if groups < layout.groups:
        raise LayoutMismatch(f"there are {layout.groups} groups of partitions, and they cannot become fewer")
    await bus.grow(Topic.JOBS, groups * layout.slots)
    return await asyncio.to_thread(records.grow_layout, groups)


async def _on_broker(settings: Settings, records: Records, groups: int) -> None:
    bus = buses.connect(settings)
    await bus.start()
    try:
        await append(bus, records, groups)
    finally:
        await bus.close()


def _in_force(records: Records) -> Layout:
    layout = records.layout()
    if layout is None:
        raise LayoutMismatch("there is no layout yet: the first service that starts makes it, of PARTITION_GROUPS")
    return layout


def _slots(layout: Layout) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("operation/lane")
    table.add_column("partitions of " + Topic.JOBS)
    for place, slot in sorted(layout.slot.items(), key=lambda taken: taken[1]):
        numbers = [str(group * layout.slots + slot) for group in range(layout.groups)]
        table.add_row(place, ", ".join(numbers if len(numbers) <= 8 else [*numbers[:3], "...", numbers[-1]]))
    return table


def _topics(layout: Layout) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("topic")
    table.add_column("partitions", justify="right")
    for spec in layout.topics(result_topics(installed())):
        table.add_row(spec.name, str(spec.partitions))
    return table

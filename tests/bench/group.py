"""Seconds that it takes when workers come, go and die: `python -m tests.bench.group [embedded|kafka] [SESSION]`.

Two workers at scripted jobs of 50 ms in 24 partitions, a few at a time. Prints a table, each line one measurement.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.fleet import Fleet, running_fleet
from tests.support.passages import Passage, dies, joins, leaves, restarts, trickle, works

Measure = Callable[[Fleet], Awaitable[Passage]]


async def scale_down(fleet: Fleet) -> Passage:
    return await leaves(fleet, 2)


async def comes_back(fleet: Fleet) -> Passage:
    return await restarts(fleet, 1, 0, clean=False)


async def restart(fleet: Fleet) -> Passage:
    return await restarts(fleet, 1, 0, clean=True)


async def death(fleet: Fleet) -> Passage:
    return await dies(fleet, 1)


MEASURES: dict[str, Measure] = {
    "a third worker joins": joins,
    "SIGTERM, the others have all partitions": scale_down,
    "kill -9 and restart, it works again": comes_back,
    "SIGTERM and restart, it works again": restart,
    "kill -9 for good, the other has all partitions": death,
}


async def main(kind: str, session: str) -> None:
    env = {"SESSION_TIMEOUT": session} if session else {}
    print(f"{kind}, session {session or 'as it comes'}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    print("| event | seconds | the other's longest silence | rebalanced |\n|---|---|---|---|")
    with TemporaryDirectory() as folder:
        async with running_fleet(Path(folder), 2, 4, kind, **env) as fleet:
            for name, measure in MEASURES.items():
                async with trickle(fleet):
                    await works(fleet, 0)
                    passage = await measure(fleet)
                silence, moved = (
                    (f"{passage.silence:.1f}", "yes" if passage.rebalanced else "no") if passage.silence else ("", "")
                )
                print(f"| {name} | {passage.took:.1f} | {silence} | {moved} |", flush=True)
            print(f"\n{dict(fleet.outcomes())}, computed more than once: {len(fleet.computed_twice())}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "kafka", sys.argv[2] if len(sys.argv) > 2 else ""))

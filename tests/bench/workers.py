"""Several workers at 1,000 jobs of three operations, while one joins and one leaves: `python -m tests.bench.workers [JOBS]`.

Scripted engines, the embedded broker; one model fits into a worker at a time. Prints what the acceptance asks for.
"""

import asyncio
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.fleet import ONE_MODEL, Fleet, join_and_leave, running_fleet

MAX_WAIT = 5.0


async def main(jobs: int) -> None:
    with TemporaryDirectory() as folder:
        async with running_fleet(Path(folder), workers=3, groups=4, MAX_WAIT=str(MAX_WAIT), **ONE_MODEL) as fleet:
            began = time.monotonic()
            code = await join_and_leave(fleet, jobs)
            print(
                f"{len(fleet.submitted)} jobs in {time.monotonic() - began:.1f} s; the one that left ended with {code}"
            )
            await report(fleet)


async def report(fleet: Fleet) -> None:
    stages = Counter((each.job, each.model) for each in fleet.computed())
    events = Counter(await fleet.told())
    print(f"ends: {dict(fleet.outcomes())}")
    print(f"stages computed: {len(stages)}, more than once: {sum(1 for times in stages.values() if times > 1)}")
    print(f"result events: {len(events)} runs, sent more than once: {sum(1 for times in events.values() if times > 1)}")
    print(f"stages by engine: {sorted(Counter(each.engine for each in fleet.computed()).values())}")
    print(f"swaps of the workers that stayed: {await fleet.swaps()}")
    waits = sorted(fleet.waits().values())
    p95 = statistics.quantiles(waits, n=20)[-1]
    print(
        f"wait (MAX_WAIT {MAX_WAIT:.0f} s): median {statistics.median(waits):.2f}, p95 {p95:.2f}, most {waits[-1]:.2f} s"
    )


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))

"""A quarter of an hour under load with a fault now and then: does anything grow?

    python -m tests.chaos.soak --stack embedded --minutes 15

Memory, file descriptors and threads of each of our processes, and the numbers of processes and marks are sampled. A process
that was killed begins anew, so growth is looked for within a process's life, once it is warm, and from one life to the next.
A life of two minutes cannot tell a leak from a pool that fills, so API and workers are killed in the first third only: after
that they are stopped where they would have been killed, while broker, store and engines go on being killed under them.
The embedded broker's memory is excepted: it keeps every event.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from tests.bench.report import command, head
from tests.chaos.oracle import Breach
from tests.chaos.run import Going, Options, Trial, trial
from tests.chaos.schedule import Act, Fault, Victim, schedule, victim_at
from tests.chaos.stacks import Field

PACE = 20.0
"""Seconds between two faults, on average."""
KILLING, LONG_LIVED = 1 / 3, {Victim.API, Victim.WORKER}
"""Of the time: as long as these are killed."""
EVERY = 5.0
"""Seconds between two samples."""
WARM = 45.0
"""Seconds after which a process has loaded and seen everything once."""
LONG = 6
"""Samples that a life needs after that to say something about growth."""
LIVES = 4
"""Of a role, over half of the time, that say something about growth from life to life."""
MIB = 1 << 20
ALLOWED = {"memory": 24 * MIB, "files": 10, "threads": 6}
"""What a process may gain in as long as the soak lasts: less is noise of allocators, pools and open connections."""


@dataclass(frozen=True, slots=True)
class Sample:
    at: float
    """Seconds since the beginning."""
    role: str
    pid: int
    age: float
    memory: int
    files: int
    threads: int


@dataclass(frozen=True, slots=True)
class Census:
    at: float
    processes: int
    marks: int


@dataclass(frozen=True, slots=True)
class Growth:
    """How a measure of a role's processes grows."""

    role: str
    measure: str
    within: float
    """In a life, a soak's length."""
    across: float
    """From life to life, a soak's length."""

    @property
    def grows(self) -> bool:
        return max(self.within, self.across) > ALLOWED[self.measure]


Points = Sequence[tuple[float, float]]
"""(seconds, value)."""


def slope(*lives: Points) -> float:
    """Theil and Sen's: the median of all slopes between two points of the same life, which single outliers do not move."""
    pairs = (pair for life in lives for pair in combinations(life, 2))
    return median([(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in pairs if x2 != x1] or [0.0])


def growths(samples: Iterable[Sample], length: float) -> list[Growth]:
    """`length`: of the soak, in seconds. Lives that were too short to get warm say nothing."""
    warm: dict[str, dict[int, list[Sample]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        if sample.age >= WARM:
            warm[sample.role][sample.pid].append(sample)
    lives = {role: [life for life in each.values() if len(life) >= LONG] for role, each in sorted(warm.items())}
    return [_growth(role, measure, ours, length) for role, ours in lives.items() if ours for measure in ALLOWED]


def _growth(role: str, measure: str, lives: list[list[Sample]], length: float) -> Growth:
    values = [[(sample.at, float(getattr(sample, measure))) for sample in life] for life in lives]
    starts = [(life[0][0], median(value for _, value in life[:LONG])) for life in values]
    enough = len(starts) >= LIVES and starts[-1][0] - starts[0][0] >= length / 2
    return Growth(role, measure, slope(*values) * length, slope(starts) * length if enough else 0.0)


class Sampler:
    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.census: list[Census] = []
        self._began = time.monotonic()

    async def run(self, going: Going) -> None:
        while True:
            await asyncio.to_thread(self._look, going.field, going.watch.marks)
            await asyncio.sleep(EVERY)

    def _look(self, field: Field, marks: int) -> None:
        at = time.monotonic() - self._began
        with suppress(psutil.Error):
            self.census.append(Census(round(at, 1), len(field.stack.processes()), marks))
        for role, pid in field.all_processes().items():
            with suppress(psutil.Error):
                process = psutil.Process(pid)
                age = time.time() - process.create_time()
                memory, files = process.memory_info().rss, process.num_fds()
                self.samples.append(
                    Sample(round(at, 1), role, pid, round(age, 1), memory, files, process.num_threads())
                )


def verdict(sampler: Sampler, length: float, *, embedded: bool) -> tuple[list[Growth], list[Breach]]:
    found = growths(sampler.samples, length)
    excepted = {("broker", "memory")} if embedded else set[tuple[str, str]]()
    if not embedded:  # Apache Kafka and MinIO are not ours
        found = [growth for growth in found if growth.role not in {"broker", "store"}]
    grown = [growth for growth in found if growth.grows and (growth.role, growth.measure) not in excepted]
    breaches = [
        Breach(f"{each.measure} of {each.role}: {each.within:+.0f} in a life, {each.across:+.0f} from life to life")
        for each in grown
    ]
    counted = [(census.at, float(census.processes)) for census in sampler.census]
    if (more := slope(counted) * length) > 3:
        breaches.append(Breach(f"processes: {more:+.1f}"))
    return found, breaches


def faults_for(minutes: float, seed: int, field: Field) -> list[Fault]:
    """As many as the time holds."""
    chosen, at = list[Fault](), 0.0
    for fault in schedule(seed, max(8, round(minutes * 60 / PACE)), PACE, field.ground):
        at += fault.gap
        if at > minutes * 60:
            break
        chosen.append(fault if at < KILLING * minutes * 60 else spared(fault))
    return chosen


def spared(fault: Fault) -> Fault:
    """The fault as a stop where it would have ended an API or a worker; elsewhere it does not wait at points that they pass."""
    if fault.act not in {Act.KILL, Act.LEAVE}:
        return fault
    victim = victim_at(fault.points[0]) if fault.points else fault.victim
    if victim in LONG_LIVED:
        return replace(fault, act=Act.STOP)
    return replace(fault, points=tuple(point for point in fault.points if victim_at(point) not in LONG_LIVED))


async def soak(options: Options, minutes: float, folder: Path) -> tuple[Trial, Sampler]:
    sampler, tasks = Sampler(), list[asyncio.Task[None]]()

    def say(line: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)

    def begun(going: Going) -> None:
        tasks.append(asyncio.create_task(sampler.run(going)))

    done = await trial(options, folder, lambda field: faults_for(minutes, options.seed, field), say, begun)
    for task in tasks:
        task.cancel()
    return done, sampler


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--stack", choices=("embedded", "local"), default="embedded")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="turnstream-soak-"))
    options = Options(arguments.stack, arguments.seed)
    done, sampler = asyncio.run(soak(options, arguments.minutes, folder))
    found, breaches = verdict(sampler, arguments.minutes * 60, embedded=arguments.stack == "embedded")
    breaches += done.breaches
    for growth in found:
        unit = MIB if growth.measure == "memory" else 1
        print(f"{growth.role:<12} {growth.measure:<8} {growth.within / unit:+8.1f} {growth.across / unit:+8.1f}")
    marks = [census.marks for census in sampler.census]
    print(f"marks: {median(marks)} in the middle, {max(marks)} at most, {marks[-1]} at last")
    print("\n".join(map(str, breaches)) or "nothing grows, nothing is lost")
    if arguments.out:
        arguments.out.write_text(json.dumps(report(arguments, done, sampler, found, breaches), indent=1) + "\n")
    if breaches:
        print(f"everything it left: {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if breaches else 0


def report(
    arguments: argparse.Namespace, done: Trial, sampler: Sampler, found: list[Growth], breaches: list[Breach]
) -> dict[str, Any]:
    columns = ("at", "pid", "age", "memory", "files", "threads")
    by_role: dict[str, list[list[float]]] = defaultdict(list)
    for sample in sampler.samples:
        by_role[sample.role].append([getattr(sample, column) for column in columns])
    return {
        **head(command("tests.chaos.soak")),
        "stack": arguments.stack,
        "minutes": arguments.minutes,
        "seed": arguments.seed,
        "faults": [strike.row(0) for strike in done.strikes],
        "runs": len(done.evidence.promises),
        "growth": [[each.role, each.measure, round(each.within, 1), round(each.across, 1)] for each in found],
        "breaches": [str(breach) for breach in breaches],
        "columns": columns,
        "samples": by_role,
        "census": [[census.at, census.processes, census.marks] for census in sampler.census],
    }


if __name__ == "__main__":
    sys.exit(main())

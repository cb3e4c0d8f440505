"""One run: a stack, load on it, faults in it, and then what the oracle says."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.evidence import Evidence, all_done, gather, ruined
from tests.chaos.faults import Strike, Striker
from tests.chaos.load import Load
from tests.chaos.oracle import Breach, judge
from tests.chaos.schedule import Fault, Victim
from tests.chaos.stacks import Field, standing
from tests.chaos.watching import Intruder, Watch, connected, intrude, watching
from tests.support import recordings

CLIENTS, PENDING = 8, 48
"""Clients at the same time, and marks beyond which they hold back."""
PAUSE = {"scripted": 0.7, "pyannote": 4.0}
"""Seconds of a client between two jobs, on average."""
INTRUSION = 8.0
"""Seconds between two unreadable records, on average."""
PATIENCE, LEAST = 6.0, 600.0
"""The faults of a run may take so many times as long as its schedule, and so many seconds at least: each waits for its victim,
who may just be starting."""
SPEECH = 4.0
"""Seconds of the recordings that the real model gets."""


@dataclass(slots=True)
class Trial:
    """What a run was, for reports."""

    evidence: Evidence
    strikes: list[Strike]
    breaches: list[Breach]
    seen: dict[str, Any]
    field: Field


@dataclass(slots=True)
class Options:
    stack: str = "embedded"
    seed: int = 1
    jobs: int = 0
    """At least so many are accepted."""
    model: str = "scripted"
    delivery: str = "auto"
    env: dict[str, str] = field(default_factory=dict)

    @property
    def engine(self) -> str:
        return "scripted" if self.model == "scripted" else "pyannote"


@dataclass(slots=True)
class Going:
    """A run in the middle: what a progress bar and a sampler look at."""

    field: Field
    load: Load
    watch: Watch
    striker: Striker

    @property
    def accepted(self) -> int:
        return len(self.load.book.promises)


def recording(engine: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        sound = recordings.tone(0.2) if engine == "scripted" else recordings.sample_waveform(SPEECH)
        return recordings.wav(sound, recordings.SAMPLE_RATE, Path(folder) / "talk.wav").read_bytes()


async def trial(
    options: Options,
    folder: Path,
    faults: Callable[[Field], list[Fault]],
    say: Callable[[str], None],
    going: Callable[[Going], None] = lambda _: None,
) -> Trial:
    """Raises StackFailed where the stack does not even come up."""
    opening = standing(options.stack, folder, options.engine, DELIVERY=options.delivery, **options.env)
    where = await asyncio.to_thread(opening.__enter__)
    try:
        done = await _trial(options, where, faults(where), say, going)
    finally:
        await asyncio.to_thread(opening.__exit__, None, None, None)
    done.evidence.leftovers += [*where.spools(), *where.strangers()]
    done.breaches = judge(done.evidence)
    return done


async def _trial(
    options: Options, where: Field, faults: list[Fault], say: Callable[[str], None], going: Callable[[Going], None]
) -> Trial:
    async with connected(where) as bus, watching(where, bus, options.seed) as watch:
        load = Load(
            lambda: where.stack.url,
            recording(options.engine),
            options.seed,
            busy=lambda: watch.marks >= PENDING,
            clients=CLIENTS,
            real=options.engine != "scripted",
        )
        book = load.book
        striker = Striker(where, lambda strike: say(str(strike)), lambda: (len(book.promises), len(watch.seen)))
        going(Going(where, load, watch, striker))
        partitions = where.settings.partition_groups * 13
        over = asyncio.Event()
        intruders = intrude(bus, partitions, options.seed, INTRUSION, over)
        async with _beside(intruders) as intruding, _beside(load.run(PAUSE[options.engine])):
            await striker.carry_out(faults, max(LEAST, PATIENCE * sum(fault.gap for fault in faults)))
            while len(load.book.promises) < options.jobs:
                await asyncio.sleep(0.1)
            load.end()
            over.set()
            watch.duplicating = False
        say("no more faults, no more jobs")
        await all_done(where, bus, say)
        evidence = await gather(where, bus, load.book.promises, watch.seen)
        evidence.intruders = intruding.result()
    evidence.ruined = ruined(striker.strikes)
    evidence.forgotten = striker.died(Victim.BROKER) if options.stack == "embedded" else []
    seen = {
        "refused": load.book.refused,
        "broken": load.book.broken,
        "published_twice": watch.again,
        "intruders": len(evidence.intruders),
        "points_unreached": dict(striker.ambush.in_vain),
    }
    return Trial(evidence, striker.strikes, [], seen, where)


@asynccontextmanager
async def _beside(work: Any) -> AsyncIterator[asyncio.Task[Any]]:
    """Something that goes on meanwhile, and is waited for at the end."""
    task: asyncio.Task[list[Intruder] | None] = asyncio.create_task(work)
    try:
        yield task
        await task
    finally:
        task.cancel()

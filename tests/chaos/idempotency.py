"""Jobs under an Idempotency-Key, sent again and again by impatient clients while the API is killed: is each key one job?

    python -m tests.chaos.idempotency --stack embedded --jobs 1000 --clients 50 --kills 20
    python -m tests.chaos.idempotency --stack local --out docs/benchmarks/idempotency-local.json

Clients hang up at any moment, send the same twice at once, and send again what was answered. Every second kill strikes at a named
point between two steps of a submission. A breach makes the exit code 1.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.bench.report import command, head
from tests.chaos.schedule import Victim
from tests.chaos.stacks import Field, standing
from tests.support import recordings
from tests.support.real import REASON, missing_tools
from turnstream.patience import Patience

ANSWER, CONNECTION = 30.0, 3.0
"""Seconds that a client waits for either."""
AWAY = 0.2
"""Seconds a client waits after an answer that was none."""
HANGS_UP, TWICE, AGAIN = 0.25, 0.1, 0.2
"""Parts of the calls that are broken off by their client, are sent twice at once, and are sent again although answered."""
POINTS = ("marked", "audio", "recorded", "indexed", "published", "queued", "promised")
LIMIT = 1800.0
"""Seconds for all of it."""


@dataclass
class Book:
    """What the clients were told."""

    jobs: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """The ids that were answered to each key."""
    seen: Counter[str] = field(default_factory=Counter)
    """Answers by their status, calls that were broken off, and those that found nobody."""
    struck: Counter[str] = field(default_factory=Counter)
    """Where the API was, each time it was killed."""
    refused: list[str] = field(default_factory=list)
    """Answers that no client should get."""


class Client:
    """Has one submission after the other accepted, whatever it takes."""

    def __init__(self, http: httpx.AsyncClient, url: str, audio: bytes, book: Book, draw: random.Random) -> None:
        self._http, self._url, self._audio, self._book, self._draw = http, url, audio, book, draw

    async def hand_in(self, key: str) -> None:
        while not self._book.jobs[key]:
            calls = [self._call(key) for _ in range(2 if self._draw.random() < TWICE else 1)]
            if not any(await asyncio.gather(*calls)):
                await asyncio.sleep(AWAY * self._draw.random())
        if self._draw.random() < AGAIN:
            await self._call(key)

    async def _call(self, key: str) -> bool:
        """Whether an answer came."""
        patience = self._draw.uniform(0, 0.5) if self._draw.random() < HANGS_UP else ANSWER
        try:
            answer = await self._http.post(
                f"{self._url}/api/v1/jobs",
                files={"audio": ("a.wav", self._audio)},
                headers={"Idempotency-Key": key},
                timeout=httpx.Timeout(patience, connect=CONNECTION),
            )
        except httpx.ReadTimeout:
            self._book.seen["hung up"] += 1
            return False
        except httpx.TransportError:
            self._book.seen["nobody there"] += 1
            return False
        self._book.seen[str(answer.status_code)] += 1
        self._book.seen["replayed"] += "idempotent-replayed" in answer.headers
        if answer.status_code == 202:
            self._book.jobs[key].add(answer.json()["id"])
        elif answer.status_code not in {409, 503}:
            self._book.refused.append(f"{key}: {answer.status_code} {answer.text}")
        return answer.status_code == 202


async def load(stack: Field, audio: bytes, keys: list[str], clients: int, book: Book, draw: random.Random) -> None:
    limits = httpx.Limits(max_connections=2 * clients)
    waiting = iter(keys)

    async def work(client: Client) -> None:
        for key in waiting:
            await client.hand_in(key)

    async with httpx.AsyncClient(limits=limits) as http:
        url = stack.stack.url
        drawn = (random.Random(draw.random()) for _ in range(clients))
        await asyncio.gather(*(work(Client(http, url, audio, book, each)) for each in drawn))


async def strike(stack: Field, kills: int, jobs: int, book: Book, draw: random.Random) -> None:
    """Kill the API as often, each time after as many more jobs."""
    for number in range(kills):
        while len([key for key, ids in book.jobs.items() if ids]) < jobs * number // kills:
            await asyncio.sleep(0.02)
        pid = await _api(stack)
        await asyncio.sleep(draw.uniform(0, 0.5))
        place = POINTS[number // 2 % len(POINTS)] if number % 2 else "anywhere"
        if place == "anywhere":
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        else:
            (stack.points / f"intake.{place}").write_text("SIGKILL")
        while await _api(stack) == pid:
            await asyncio.sleep(0.05)
        book.struck[place] += 1


async def _api(stack: Field) -> int:
    """Its process id, as soon as one runs."""
    while not (found := stack.processes(Victim.API)):
        await asyncio.sleep(0.05)
    return next(iter(found.values()))


def breaches(stack: Field, keys: list[str], book: Book) -> Iterator[str]:
    """Whatever is not as it was promised."""
    yield from book.refused
    for key in keys:
        if len(book.jobs[key]) != 1:
            yield f"{key} was answered with the jobs {sorted(book.jobs[key])}"
    promised = {job for ids in book.jobs.values() for job in ids}
    with stack.stack.client(patience=Patience(tries=20)) as client:
        there = Counter(job.id for job in client.jobs())
        if there != Counter(promised):
            yield f"{len(promised)} jobs were promised and {there.total()} are there: {sorted(there - Counter(promised))}"
        for job_id in promised:
            *_, last = client.wait(job_id, timeout=LIMIT)
            if last.state != "succeeded":
                yield f"job {job_id} is {last.state}"


async def under_fire(stack: Field, audio: bytes, jobs: int, clients: int, kills: int, seed: int) -> dict[str, Any]:
    draw, book = random.Random(seed), Book()
    keys = [f"job-{number}" for number in range(jobs)]
    began = time.monotonic()
    striking = asyncio.create_task(strike(stack, kills, jobs, book, draw))
    async with asyncio.timeout(LIMIT):
        await load(stack, audio, keys, clients, book, draw)
    striking.cancel()
    await asyncio.wait([striking])
    seconds = time.monotonic() - began
    found = await asyncio.to_thread(lambda: list(breaches(stack, keys, book)))
    return {
        "jobs": jobs,
        "clients": clients,
        "kills": dict(sorted(book.struck.items())),
        "calls": dict(sorted(book.seen.items())),
        "seconds": round(seconds, 1),
        "breaches": found,
    }


def trial(folder: Path, kind: str, jobs: int, clients: int, kills: int, seed: int) -> dict[str, Any]:
    audio = recordings.blip(folder).read_bytes()
    with standing(kind, folder, "scripted") as stack:
        return asyncio.run(under_fire(stack, audio, jobs, clients, kills, seed))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.idempotency", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--stack", choices=("embedded", "local"), default="embedded")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="file for the raw report")
    asked = parser.parse_args()
    if asked.stack == "local" and (missing := missing_tools()):
        print(f"skipped: {REASON}; missing here: {', '.join(missing)}")
        return 0
    with tempfile.TemporaryDirectory(prefix="turnstream-") as folder:
        found = trial(Path(folder), asked.stack, asked.jobs, asked.clients, asked.kills, asked.seed)
    found = {"stack": asked.stack, "seed": asked.seed, **found}
    report = json.dumps({**head(command("tests.chaos.idempotency"), "httpx"), **found}, indent=2) + "\n"
    if asked.out is not None:
        asked.out.write_text(report)
    print(report)
    return 1 if found["breaches"] else 0


if __name__ == "__main__":
    sys.exit(main())

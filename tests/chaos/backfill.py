"""An archive through `turnstream backfill` while it and the stack are killed: is each recording one job with one result?

    python -m tests.chaos.backfill --files 2000 --kills 30 --out docs/benchmarks/backfill.json

The backfill is started again each time it was killed, by the same command. Among the recordings are equal ones, some that
cannot be computed, and files that are no recordings. A breach makes the exit code 1.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import wave
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas.jobs import JobState, JobView
from tests.bench.report import command, head, write
from tests.chaos.oracle import LOST_ENGINE
from tests.support.stack import Stack, running_stack
from turnstream.backfill.names import FAILURES
from turnstream.client import Client
from turnstream.patience import Patience

EQUAL, FAILING, NO_RECORDING = 25, 50, 40
"""Each of these once in so many files."""
VICTIMS = ("backfill", "backfill", "backfill", "api", "worker", "engine", "broker")
LIMIT = 1800.0
"""Seconds for all of it."""


@dataclass
class Files:
    """What an archive was made of, by the paths in it."""

    sha256: dict[str, str] = field(default_factory=dict)
    """Of the recordings."""
    failing: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)

    @property
    def good(self) -> dict[str, str]:
        """Those whose content is computed, under whatever name it came first."""
        bad = {self.sha256[name] for name in self.failing}
        return {name: digest for name, digest in self.sha256.items() if digest not in bad}


def make_archive(folder: Path, count: int, draw: random.Random) -> Files:
    files, last = Files(), b""
    for number in range(count):
        part = folder / f"{number % 20:02d}"
        part.mkdir(parents=True, exist_ok=True)
        if number % NO_RECORDING == NO_RECORDING - 1:
            path = part / f"notes-{number:05d}.txt"
            path.write_text(f"This is number {number}, and no recording.")
            files.refused.add(path.relative_to(folder).as_posix())
            continue
        failing = number % FAILING == FAILING // 2
        path = part / (f"error-{number:05d}.wav" if failing else f"sleep-{draw.uniform(0, 0.2):.3f}-{number:05d}.wav")
        content = last if last and number % EQUAL == EQUAL - 1 else _recording(number)
        path.write_bytes(content)
        name = path.relative_to(folder).as_posix()
        files.sha256[name] = hashlib.sha256(content).hexdigest()
        if failing:
            files.failing.add(name)
        last = b"" if failing else content
    return files


def _recording(number: int) -> bytes:
    """50 ms of a click whose bytes no other number has."""
    with tempfile.SpooledTemporaryFile() as file:
        with wave.open(file, "wb") as sound:  # type: ignore[arg-type]
            sound.setparams((1, 2, 8000, 0, "NONE", ""))
            sound.writeframes(number.to_bytes(4, "little") + bytes(796))
        file.seek(0)
        return file.read()


@dataclass
class Backfill:
    """The command as a process that may be started many times."""

    stack: Stack
    folder: Path
    log: Path
    starts: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.starts += 1
        arguments = ["backfill", str(self.folder), "--at-once", "16", "--url", self.stack.url]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "turnstream", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def ended(self) -> int | None:
        assert self.process is not None
        return self.process.poll()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


def strike(backfill: Backfill, victim: str) -> bool:
    if victim == "backfill":
        backfill.kill()
        backfill.start()
        return True
    pid = backfill.stack.pids.get(victim)
    if pid is None:  # it is just being started
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def to_the_end(backfill: Backfill, kills: int, pace: float, draw: random.Random) -> Counter[str]:
    """Run it, with kills at random moments, until it ends by itself. Who was killed how often."""
    deadline, killed = time.monotonic() + LIMIT, Counter[str]()
    backfill.start()
    following = time.monotonic() + draw.uniform(0, 2 * pace)
    while backfill.ended is None:
        if killed.total() < kills and time.monotonic() > following:
            following = time.monotonic() + draw.uniform(0, 2 * pace)
            victim = draw.choice(VICTIMS)
            killed[victim] += strike(backfill, victim)
        if time.monotonic() > deadline:
            backfill.kill()
            raise TimeoutError(f"the backfill has not ended within {LIMIT:.0f} s")
        time.sleep(0.02)
    return +killed


def breaches(stack: Stack, folder: Path, files: Files) -> Iterator[str]:
    """Whatever is not as it was promised."""
    with stack.client(patience=Patience(tries=20)) as client:
        jobs: dict[str, JobView] = {}
        for job in client.jobs():
            digest = job.audio.sha256 if job.audio else ""
            if digest in jobs:
                yield f"two jobs for {digest}: {jobs[digest].id} and {job.id}"
            jobs[digest] = job
        if jobs.keys() != set(files.sha256.values()):
            yield f"{len(jobs)} jobs for {len(set(files.sha256.values()))} recordings"
        for name, digest in files.good.items():
            yield from _breaches_of(client, jobs[digest], folder / f"{name}.diarize.json")
    lines = [json.loads(line) for line in (folder / FAILURES).read_text().splitlines()]
    told = Counter(Path(line["path"]).relative_to(folder).as_posix() for line in lines)
    if told != Counter({*files.refused, *(files.sha256.keys() - files.good.keys())}):
        yield f"the list of failures has {sorted(told)}"
    if rest := [path.name for path in folder.rglob("*.part")]:
        yield f"halves of files are left: {rest}"


def _breaches_of(client: Client, job: JobView, result: Path) -> Iterator[str]:
    runs = [(view.run, view.error.code if view.error else view.state.value) for view in client.runs(job.id)]
    # A run may lose all its tries to kills: the next start of the command then asks for another.
    *killed, (_, last) = runs
    if last != JobState.SUCCEEDED or any(code not in LOST_ENGINE for _, code in killed):
        yield f"{result.name}: its job has the runs {runs}"
    elif not result.exists() or result.read_bytes() != client.result_as(job.id, "json"):
        yield f"{result.name} is not the result of its job"


def trial(folder: Path, count: int, kills: int, pace: float, seed: int) -> dict[str, Any]:
    draw = random.Random(seed)
    archive = folder / "archive"
    files = make_archive(archive, count, draw)
    with running_stack(folder, ENGINE="scripted", WORKERS="1") as stack:
        backfill = Backfill(stack, archive, folder / "backfill.log")
        began = time.monotonic()
        try:
            killed = to_the_end(backfill, kills, pace, draw)
            seconds = time.monotonic() - began
            found = list(breaches(stack, archive, files))
        finally:
            backfill.kill()
    return {
        "files": count,
        "recordings": len(files.sha256),
        "distinct_recordings": len(set(files.sha256.values())),
        "no_recordings": len(files.refused),
        "that_cannot_be_computed": len(files.failing),
        "kills": dict(sorted(killed.items())),
        "starts_of_the_backfill": backfill.starts,
        "seconds": round(seconds, 1),
        "breaches": found,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.backfill", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--pace", type=float, default=5.0, help="mean seconds between two kills")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="file for the raw report")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="turnstream-") as folder:
        found = trial(Path(folder), arguments.files, arguments.kills, arguments.pace, arguments.seed)
    report = {**head(command("tests.chaos.backfill"), "httpx", "tenacity"), **found}
    write(arguments.out, report)
    print(json.dumps(report, indent=2))
    return 1 if found["breaches"] else 0


if __name__ == "__main__":
    sys.exit(main())

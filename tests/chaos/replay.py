"""A replay under live load, and one that is killed: does the load wait longer, and does each run have one result?

    python -m tests.chaos.replay --stack local --jobs 5000 --kills 10 --out docs/benchmarks/replay.json

First the live load alone, then beside a replay of so many jobs, then a second replay of them while it and the worker are
killed with SIGKILL by turns. The past lies in the object store alone: no topic has ever had its jobs. A breach makes the exit
code 1; so does a p95 wait of the live jobs that rises by a job's time or more, unless --jobs is small.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from schemas.jobs import JobState
from tests.bench.report import command, head, load_average, write
from tests.support import recordings
from tests.support.replaying import Ground, ground, make_past
from tests.support.stack import Stack
from tests.support.waiting import until
from turnstream.patience import Patience
from turnstream.records import Records

EVERY = 1.0
"""Seconds between two live jobs."""
LIMIT = 3600.0
"""Seconds until a replay has ended."""
CALM, STORMY = "calm", "stormy"


class LiveLoad:
    """A caller who wants one job after the other done, each at its time whatever became of the one before."""

    def __init__(self, stack: Stack, folder: Path, seconds: float) -> None:
        self._stack = stack
        self._recording = recordings.wav(recordings.tone(1), recordings.SAMPLE_RATE, folder / f"sleep-{seconds}.wav")
        self._stop = threading.Event()
        self.accepted: dict[str, float] = {}
        """When each was accepted, in seconds since 1970."""

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        with self._stack.client(patience=Patience(tries=20)) as client:
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                due += EVERY
                job = client.submit(self._recording)
                self.accepted[job.id] = job.created_at.timestamp()


def waits(field: Ground, load: LiveLoad) -> list[float]:
    """Seconds from the acceptance of each live job until it was begun."""
    began = field.began()
    return [began[job, "live"] - at for job, at in load.accepted.items()]


def told(seconds: list[float]) -> dict[str, float]:
    p50, p95 = np.percentile(seconds, [50, 95])
    return {
        "jobs": len(seconds),
        "p50": round(float(p50), 3),
        "p95": round(float(p95), 3),
        "max": round(max(seconds), 3),
    }


def replay_of(name: str) -> list[str]:
    return ["replay", "--from", "3h", "--to", "30m", "--run", name]


def until_ended(records: Records, name: str, jobs: list[str]) -> None:
    """A run is asked after until it has its end, and no longer: to look costs the store something."""
    left, deadline = jobs, time.monotonic() + LIMIT
    while left := [job for job in left if not records.ended(job, name)]:
        assert time.monotonic() < deadline, f"{len(left)} runs have no end"
        time.sleep(0.5)
    until(lambda: not any(run == name for _, run, _ in records.pending()), LIMIT)


def alone(field: Ground, load: LiveLoad, seconds: float) -> list[float]:
    with load.running():
        time.sleep(seconds)
    until(lambda: load.accepted.keys() <= {job for job, _ in field.began()}, LIMIT)
    return waits(field, load)


def beside(field: Ground, load: LiveLoad, records: Records, jobs: list[str]) -> tuple[list[float], float, float]:
    """The waits beside a replay, and the seconds it took to publish it and to compute it."""
    began = time.monotonic()
    with load.running():
        replay = field.start(*replay_of(CALM))
        assert replay.wait(LIMIT) == 0, (field.folder / "command.log").read_text()
        published = time.monotonic() - began
        until_ended(records, CALM, jobs)
    seconds = time.monotonic() - began
    until(lambda: load.accepted.keys() <= {job for job, _ in field.began()}, LIMIT)
    return waits(field, load), published, seconds


def killed(field: Ground, stack: Stack, records: Records, jobs: list[str], kills: int, pace: float) -> Counter[str]:
    """A replay while it and the worker are killed by turns, each time started again. Who was killed how often."""
    random, struck = Random(3), Counter[str]()
    replay = field.start(*replay_of(STORMY))
    while struck.total() < kills:
        time.sleep(random.uniform(0.3 * pace, 1.7 * pace))
        if struck["replay"] <= struck["worker"]:
            if replay.poll() is not None:  # it was through: what it has to do is nothing, and it finds that out
                replay = field.start(*replay_of(STORMY))
                time.sleep(pace / 4)
            replay.kill()
            replay.wait()
            struck["replay"] += 1
            replay = field.start(*replay_of(STORMY))
        elif (pid := stack.pids.get("worker")) is not None:
            os.kill(pid, signal.SIGKILL)
            struck["worker"] += 1
            until(lambda pid=pid: stack.pids.get("worker") not in {None, pid}, 120)
    assert replay.wait(LIMIT) == 0, (field.folder / "command.log").read_text()[-5000:]
    until_ended(records, STORMY, jobs)
    return struck


def breaches(field: Ground, stack: Stack, records: Records, jobs: list[str], names: tuple[str, ...]) -> Iterator[str]:
    """Whatever is not as it was promised."""
    events = stack.event_ids()
    for name in names:
        status = field.status(name)
        if (status["succeeded"], status["total"]) != (len(jobs), len(jobs)):
            yield f"{name}: {status}"
        for job in jobs:
            outcome, objects = records.outcome(job, name), records.names(job, name)
            if outcome is None or outcome[0] is not JobState.SUCCEEDED or not {"ended", "result"} <= objects:
                yield f"{job}/{name} ended as {outcome} with {sorted(objects)}"
            count = events[f"{job}/{name}"]
            if count != 1 and (
                field.kafka is not None or count == 0
            ):  # the embedded broker may have one again after a crash
                yield f"{job}/{name} was told {count} times"
    if rest := list(records.pending()):
        yield f"{len(rest)} marks are left"
    live = {
        job for job in jobs if (outcome := records.outcome(job, "live")) is None or outcome[0] is not JobState.SUCCEEDED
    }
    if live:
        yield f"{len(live)} first runs are not as they were"


def trial(
    folder: Path, kind: str, jobs: int, kills: int, *, seconds: float, baseline: float, pace: float
) -> dict[str, Any]:
    with ground(kind, folder, DIARIZATION_MAX_BATCH_SIZE="8") as field, field.stack() as stack:
        records = field.records()
        past = make_past(records, [f"sleep-{seconds}-{number}.wav" for number in range(jobs)])
        quiet, before = alone(field, LiveLoad(stack, folder, seconds), baseline), load_average()
        busy, published, took = beside(field, LiveLoad(stack, folder, seconds), records, past)
        after = load_average()
        names = (CALM, STORMY) if kills else (CALM,)
        struck = killed(field, stack, records, past, kills, pace) if kills else Counter[str]()
        computed = field.computed()
        until(lambda: not list(records.pending()), LIMIT)
        found = list(breaches(field, stack, records, past, names))
    return {
        "stack": kind,
        "jobs": jobs,
        "seconds_of_a_job": seconds,
        "live_wait_alone": told(quiet) | {"load_average": before},
        "live_wait_beside_the_replay": told(busy) | {"load_average": after},
        "p95_rises_by": round(told(busy)["p95"] - told(quiet)["p95"], 3),
        "replay_publishes_for": round(published, 1),
        "replay_is_computed_after": round(took, 1),
        "runs_a_second": round(jobs / took, 1),
        "kills": dict(struck),
        "computed_more_than_once": {name: _again(computed, past, name) for name in names},
        "breaches": found,
    }


def _again(computed: Counter[tuple[str, str]], jobs: list[str], name: str) -> int:
    """Runs that were computed twice because their worker was killed; one result was kept."""
    return sum(computed[job, name] > 1 for job in jobs)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.replay", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--stack", choices=("embedded", "local"), default="embedded")
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=0.5, help="a job's time")
    parser.add_argument("--kills", type=int, default=10, help="0: no second replay")
    parser.add_argument("--pace", type=float, default=10.0, help="mean seconds between two kills")
    parser.add_argument("--baseline", type=float, default=120.0, help="seconds of live load alone")
    parser.add_argument("--out", type=Path, help="file for the raw report")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="turnstream-") as folder:
        options = {"seconds": given.seconds, "baseline": given.baseline, "pace": given.pace}
        found = trial(Path(folder), given.stack, given.jobs, given.kills, **options)
    report = {**head(command("tests.chaos.replay"), "confluent-kafka", "minio"), **found}
    write(given.out, report)
    print(json.dumps(report, indent=2))
    return 1 if found["breaches"] or found["p95_rises_by"] >= given.seconds else 0


if __name__ == "__main__":
    sys.exit(main())

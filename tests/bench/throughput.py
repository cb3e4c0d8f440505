"""How many jobs a second go through everything that stands around the engine.

    python -m tests.bench.throughput --stack embedded --jobs 10000
    python -m tests.bench.throughput --stack local --jobs 5000         # Apache Kafka and MinIO, as plain processes
    python -m tests.bench.throughput --stack embedded --backlog 100000

Starts the stack as a user does, with the scripted engine, which answers at once. A generator in a process of its own hands
in a recording of 0.1 s again and again through POST /api/v1/jobs, over a few connections; --ahead jobs may wait at a time,
so that API and worker share the machine as they do for good. Told are

- jobs a second: those that ended between a tenth of all and the last, by the worker's own count;
- milliseconds of processor time a job, by process, in the same time: what bounds it is whoever has most of the cores;
- resident memory by process after each tenth of the jobs: flat, if nothing is kept;
- result events: one for each job, or something is wrong.

With --backlog so many jobs wait in the object store (and, on Apache Kafka, on the broker; the embedded broker begins empty)
before the stack is started; told is when the first of them ended, and the hundredth, after the start of `turnstream up`.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tests.bench import report
from tests.bench.consumption import Usage, cpu_by_job, usage
from tests.bench.pouring import Load, Pouring, pouring
from tests.bench.standing import cold_start
from tests.support.real import Kafka, Minio
from tests.support.stack import Stack, running_stack
from tests.support.waiting import until

LOOK = 0.5
"""Seconds between two looks at how many jobs have ended."""
STILL_LIMIT = 60.0
"""Seconds without a job that ends, after which the run has failed."""
WARM = 0.1
"""Part of the jobs that is not measured: caches fill, connections open."""
COMMON = {"ENGINE": "scripted", "SWEEP_INTERVAL": "120", "LOG_LEVEL": "INFO"}


@contextmanager
def servers(kind: str, folder: Path) -> Iterator[tuple[dict[str, str], dict[str, int]]]:
    """What the stack has to be told of the servers it stands on, and their processes."""
    with ExitStack() as opened:
        if kind == "embedded":
            yield COMMON, {}
            return
        kafka, minio = (opened.enter_context(kind(folder / kind.name)) for kind in (Kafka, Minio))
        real = {"BROKER": "kafka", "KAFKA_BOOTSTRAP_SERVERS": kafka.address, "OBJECT_STORE": "minio"}
        yield COMMON | real | minio.environment, {"kafka": kafka.pid, "minio": minio.pid}


def ended(stack: Stack) -> int:
    """Jobs that the workers brought to their end, by their own count."""
    workers = [name for name in stack.pids if name.startswith("worker")]
    return sum(_ended(stack.worker(name).get("probes")) for name in workers)


def _ended(probes: str | None) -> int:
    if probes is None:
        return 0
    with urlopen(f"{probes}/metrics", timeout=10) as answer:  # noqa: S310 - the worker's own address
        lines = [line.decode() for line in answer if line.startswith(b"turnstream_jobs_ended_total{")]
    return sum(int(float(line.rsplit(" ", 1)[1])) for line in lines)


@dataclass(frozen=True)
class Look:
    """The stack at one moment."""

    at: float
    ended: int
    usage: Mapping[str, Usage]


def watch(stack: Stack, generator: Pouring, jobs: int, others: Mapping[str, int]) -> list[Look]:
    """One look for each tenth of the jobs. Raises TimeoutError where nothing ends any more."""
    looks: list[Look] = []
    pids = {**others, "load generator": generator.process.pid or 0}
    done, moved = 0, time.monotonic()
    while len(looks) < 10:
        count, now = ended(stack), time.monotonic()
        generator.ended(count)
        done, moved = (count, now) if count > done else (done, moved)
        if generator.failed or now - moved > STILL_LIMIT:
            raise TimeoutError(f"nothing moves after {count} of {jobs} jobs; {generator.accepted} were accepted")
        if count >= jobs * (len(looks) + 1) // 10:
            looks.append(Look(now, count, usage(stack, pids)))
        time.sleep(LOOK)
    return looks


def throughput(kind: str, jobs: int, ahead: int, folder: Path) -> dict[str, Any]:
    with servers(kind, folder) as (env, others), running_stack(folder, **env) as stack:
        with pouring(Load(stack.url, jobs, ahead)) as generator:
            looks = watch(stack, generator, jobs, others)
        events = stack.event_ids()
        until(lambda: ended(stack) >= jobs, 10)
    first, last = looks[0], looks[-1]
    count, seconds = last.ended - first.ended, last.at - first.at
    return {
        "jobs": jobs,
        "jobs_per_s": round(count / seconds, 1),
        "cpu_ms_per_job": cpu_by_job(first.usage, last.usage, count),
        "cores_busy": round(cpu_by_job(first.usage, last.usage, 1)["all"] / 1000 / seconds, 2),
        "rss_mib": {f"{tenth}0%": _mib(look) for tenth, look in enumerate(looks, 1)},
        "events": {"runs": len(events), "sent_more_than_once": sum(1 for times in events.values() if times > 1)},
        "load_average": report.load_average(),
    }


def _mib(look: Look) -> dict[str, float]:
    return {name: round(each.rss / 2**20, 1) for name, each in look.usage.items()}


def backlog(kind: str, jobs: int, folder: Path) -> dict[str, Any]:
    with servers(kind, folder) as (env, _):
        return cold_start(env, jobs, folder, ended)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack", choices=("embedded", "local"), default="embedded")
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--ahead", type=int, default=200, help="jobs that may be accepted and not ended")
    parser.add_argument("--backlog", type=int, help="measure a cold start with so many pending jobs instead")
    parser.add_argument("--out", type=Path, help="add the figures to this file of JSON")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="turnstream-throughput-") as folder:
        if asked.backlog:
            name, figures = f"backlog {asked.stack}", backlog(asked.stack, asked.backlog, Path(folder))
        else:
            name, figures = f"{asked.stack}", throughput(asked.stack, asked.jobs, asked.ahead, Path(folder))
    head = report.head(report.command("tests.bench.throughput"), "aiokafka", "confluent-kafka", "minio")
    print(json.dumps({name: figures}, indent=1))
    if asked.out is not None:
        before = json.loads(asked.out.read_text()) if asked.out.exists() else {}
        report.write(asked.out, before | {name: head | figures})


if __name__ == "__main__":
    main()

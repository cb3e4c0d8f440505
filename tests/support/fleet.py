"""Several workers on one broker and one store, as processes of their own; the test plays the API."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from schemas.events import Event, Headers
from schemas.jobs import Job, Lane
from schemas.topics import Topic
from tests.support.ground import Ground, standing
from tests.support.stack import CLEAN
from tests.support.worker import accept, job_event, new_job
from turnstream import bus as buses
from turnstream.bus.base import Bus, Record
from turnstream.operations import installed, result_topics
from turnstream.records import Records
from turnstream.run_dir import read_state
from turnstream.settings import Settings

START_LIMIT, STOP_LIMIT = 90.0, 60.0
"""Seconds a worker has to be ready, and to end."""
LAST_LIMIT = 120.0
"""Seconds after the last submission until every job has its end."""
MIB = 1 << 20
ONE_MODEL = {
    "SCRIPTED_MODEL_BYTES": str(8 * MIB),
    "MODEL_MEMORY_BUDGET": str(12 * MIB),
    "SCRIPTED_LOAD_SECONDS": "0.3",
}
"""Room for one of them at a time."""
OPERATIONS, SECONDS = ("diarize", "transcribe", "transcript"), ("0.05", "0.2", "0.8")
AT_ONCE = 48
"""Jobs that are pending at the same time, so that whatever happens meanwhile happens to some."""


@dataclass(frozen=True, slots=True)
class Computed:
    """A stage that an engine did."""

    job: str
    model: str
    began: float
    ended: float
    engine: int


class Fleet:
    def __init__(self, folder: Path, ground: Ground, groups: int, **env: str) -> None:
        self.ground = ground
        self.data_dir = folder / "data"
        self.data_dir.mkdir()
        self.log = folder / "workers.log"
        self._computed = folder / "computed.log"
        self._env = CLEAN | {
            "ENGINE": "scripted",
            "DATA_DIR": str(self.data_dir),
            "PARTITION_GROUPS": str(groups),
            "SCRIPTED_LOG": str(self._computed),
            **ground.env,
            **env,
        }
        self.settings = Settings(_env_file=None, **{name.lower(): value for name, value in self._env.items()})
        self.records = Records(ground.store(self.data_dir))
        self.layout = self.records.agree_on_layout(groups, installed())
        self.bus: Bus = buses.connect(self.settings)
        self.workers: list[subprocess.Popen[bytes]] = []
        """Worker-1, worker-2 and so on; one that was started again takes the place of what it was."""
        self.sent = 0
        """Records of `gpu-jobs`."""
        self.start_took = 0.0
        """Seconds until a worker was ready, on this machine as it is."""
        self.submitted: dict[str, str] = {}
        """Job id -> operation."""
        self._accepted: dict[str, float] = {}

    # Workers

    async def start(self) -> subprocess.Popen[bytes]:
        """One more worker; returns when it has its partitions."""
        began, index = time.monotonic(), self.launch()
        await self.until(lambda: self.ready(index), START_LIMIT)
        self.start_took = max(self.start_took, time.monotonic() - began)
        return self.workers[index]

    def launch(self, index: int | None = None) -> int:
        """Start a worker, or one that has ended again, and do not wait for it."""
        index = len(self.workers) if index is None else index
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "processor"]
            env = os.environ | self._env | {"WORKER_NAME": f"worker-{index + 1}"}
            worker = subprocess.Popen(command, env=env, stderr=log, stdout=log)
        self.workers[index:] = [worker, *self.workers[index + 1 :]]
        return index

    def state(self, index: int) -> dict[str, Any]:
        """What a worker says of itself; empty where that is the word of one that was there before."""
        state = read_state(self.data_dir, f"worker-{index + 1}")
        return state if state.get("pid") == self.workers[index].pid else {}

    def ready(self, index: int) -> bool:
        ended = self.workers[index].poll()
        assert ended is None, f"worker-{index + 1} ended with {ended}"
        return self.state(index).get("state") == "ready"

    def running(self) -> list[int]:
        return [index for index, worker in enumerate(self.workers) if worker.poll() is None]

    def computed_by(self, index: int) -> list[Computed]:
        """What the engine did that a worker has now."""
        engine = self.state(index).get("engine_pid")
        return [each for each in self.computed() if each.engine == engine]

    def crash(self, index: int) -> None:
        """kill -9; its engine ends with it."""
        self.workers[index].kill()
        self.workers[index].wait(timeout=10)

    async def join(self) -> None:
        """One more worker; returns when it has computed something, and all have their partitions: a group in which one joins
        and another leaves at the same moment may throw a third one out, whose open jobs are then done by two.
        """
        await self.start()
        name = f"worker-{len(self.workers)}"

        def settled() -> bool:
            engine = read_state(self.data_dir, name).get("engine_pid")
            states = {read_state(self.data_dir, f"worker-{n + 1}").get("state") for n in range(len(self.workers))}
            return states == {"ready"} and any(each.engine == engine for each in self.computed())

        await self.until(settled, START_LIMIT)

    async def stop(self, worker: subprocess.Popen[bytes]) -> int:
        """SIGTERM; returns its exit code."""
        worker.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(worker.wait, STOP_LIMIT)

    # Jobs

    async def submit(
        self, operation: str, filename: str, lane: Lane = Lane.INTERACTIVE, group: int | None = None
    ) -> Job:
        """`group`: that of the partition it is to lie in; any, if None."""
        job = new_job(filename, lane, operation)
        while group is not None and self._partition(job) // self.layout.slots != group:
            job = new_job(filename, lane, operation)
        await asyncio.to_thread(accept, self.records, job)
        self.submitted[job.id], self._accepted[job.id] = job.operation, job.created_at.timestamp()
        await self.publish(job)
        return job

    async def submit_everywhere(self, filename: str) -> list[Job]:
        """A job to each partition that jobs come to."""
        return [
            await self.submit(operation, filename, lane, group)
            for operation in OPERATIONS
            for lane in Lane
            for group in range(self.layout.groups)
        ]

    async def publish(self, job: Job) -> None:
        """Its event, once more if it was sent before."""
        event = job_event(job)
        await self.publish_record(event.key, event.data, event.headers, self._partition(job))

    async def publish_record(
        self, key: bytes | None, value: bytes | None, headers: Headers = (), partition: int = 0
    ) -> None:
        await self.bus.publish(Topic.JOBS, key=key, value=value, headers=headers, partition=partition)
        self.sent += 1

    def _partition(self, job: Job) -> int:
        return self.layout.partition(job.id, job.operation, job.lane)

    def ended(self, jobs: Iterable[Job]) -> bool:
        return all(self.records.outcome(job.id, "live") for job in jobs)

    def attempts(self, job: Job) -> int:
        return self.records.attempts(job.id, "live").count

    async def settled(self) -> None:
        """Every run has its end and no mark, and every record is committed."""
        await self.until(lambda: not self.pending(), LAST_LIMIT)
        async with asyncio.timeout(LAST_LIMIT):
            while await self.committed() < self.sent:  # noqa: ASYNC110 - of other processes
                await asyncio.sleep(0.1)

    async def committed(self) -> int:
        reach = await self.bus.reach(Topic.JOBS, self.settings.consumer_group)
        return sum(partition.committed or 0 for partition in reach.values())

    def computed_twice(self) -> dict[tuple[str, str], int]:
        done = Counter((each.job, each.model) for each in self.computed())
        return {stage: times for stage, times in done.items() if times > 1}

    def pending(self) -> int:
        """Runs that have no end yet."""
        return sum(1 for _ in self.records.pending())

    def computed(self) -> list[Computed]:
        """Every stage that was done, as often as it was."""
        lines = self._computed.read_text().splitlines() if self._computed.exists() else []
        found = (line.split() for line in lines)
        return [Computed(job, model, float(began), float(ended), int(by)) for job, _, model, began, ended, by in found]

    def waits(self) -> dict[str, float]:
        """Seconds from a job's acceptance until its first stage began."""
        began: dict[str, float] = {}
        for each in self.computed():
            began[each.job] = min(began.get(each.job, each.began), each.began)
        return {job: began[job] - at for job, at in self._accepted.items() if job in began}

    def outcomes(self) -> Counter[str]:
        """How many jobs ended how; "none" for those that have no end."""
        found = (self.records.outcome(job, "live") for job in self.submitted)
        return Counter(outcome[0].value if outcome else "none" for outcome in found)

    async def swaps(self) -> int:
        """Of the workers that run, as their metrics have it."""
        counted = 0.0
        async with httpx.AsyncClient() as client:
            for number, worker in enumerate(self.workers, 1):
                if worker.poll() is None:
                    told = await client.get(f"{read_state(self.data_dir, f'worker-{number}')['probes']}/metrics")
                    families = {each.name: each for each in text_string_to_metric_families(told.text)}
                    counted += families["turnstream_swaps"].samples[0].value
        return int(counted)

    async def told(self) -> list[str]:
        """The ids of all result events."""
        topics = result_topics(installed())
        return [Event.parse(each.headers, each.value).id for topic in topics for each in await self.read(topic)]

    async def read(self, topic: str) -> list[Record]:
        """A topic, until nothing more comes: where it ends the embedded broker cannot tell."""
        found: list[Record] = []
        async with aclosing(self.bus.read(topic)) as records:
            while True:
                try:
                    found.append(await asyncio.wait_for(anext(records), timeout=3.0))
                except TimeoutError:
                    return found

    async def until(self, condition: Callable[[], object], limit: float) -> None:
        async with asyncio.timeout(limit):
            while not condition():  # noqa: ASYNC110 - of other processes
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        for worker in self.workers:  # an engine dies with its worker
            if worker.poll() is None:
                worker.kill()
            worker.wait(timeout=10)

    async def close(self) -> None:
        self.kill()
        await self.bus.close()
        self.records.store.close()


async def keep_busy(fleet: Fleet, jobs: int, change: asyncio.Task[Any] | None = None) -> None:
    """Send jobs of all operations and lanes, at least so many, until the change is done."""
    shuffled, sent = random.Random(4), 0  # noqa: S311 - not for secrets
    while sent < jobs or not (change is None or change.done()):
        if await asyncio.to_thread(fleet.pending) >= AT_ONCE:
            await asyncio.sleep(0.02)
            continue
        for _ in range(AT_ONCE // 6):
            lane, seconds = shuffled.choice(list(Lane)), shuffled.choice(SECONDS)
            await fleet.submit(shuffled.choice(OPERATIONS), f"sleep-{seconds}.wav", lane)
            sent += 1


async def join_and_leave(fleet: Fleet, jobs: int) -> int:
    """So many jobs or some more; half-way a worker joins and another leaves, whose exit code is returned. All have ended then."""
    await keep_busy(fleet, jobs // 2)
    joining = asyncio.create_task(fleet.join())
    await keep_busy(fleet, jobs // 4, joining)
    await joining
    leaving = asyncio.create_task(fleet.stop(fleet.workers[0]))
    await keep_busy(fleet, jobs // 4, leaving)
    await fleet.until(lambda: not fleet.pending(), LAST_LIMIT)
    return await leaving


@asynccontextmanager
async def running_fleet(
    folder: Path, workers: int, groups: int, kind: str = "embedded", **env: str
) -> AsyncIterator[Fleet]:
    """On the ground of a `kind` (`tests.support.ground.standing`)."""
    async with standing(kind, folder) as ground:
        fleet = Fleet(folder, ground, groups, **env)
        await fleet.bus.start()
        await fleet.bus.ensure_topics(fleet.layout.topics(result_topics(installed())))
        try:
            await asyncio.gather(*(fleet.start() for _ in range(workers)))
            yield fleet
        except BaseException:
            print(fleet.log.read_text(errors="replace")[-20_000:] if fleet.log.exists() else "no worker said anything")
            raise
        finally:
            await fleet.close()

"""The worker's process as it is run, on the embedded broker: what it is asked to do, and what is done to it."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest

from schemas.events import CANCEL_REQUESTED, Event, event_id
from schemas.jobs import CancelRequested, Job, JobState
from schemas.operations import DIARIZE
from schemas.topics import Layout, Topic
from tests.support.brokers import EmbeddedBroker
from tests.support.worker import accept, job_event, new_job
from turnstream import bus as buses
from turnstream.bus.base import Bus, Record
from turnstream.object_store.filesystem import FilesystemStore
from turnstream.operations import installed
from turnstream.records import Records
from turnstream.run_dir import read_state
from turnstream.settings import Settings

pytestmark = pytest.mark.stack

LAYOUT = Layout().including(installed())
Id = tuple[str, str]


class Stack:
    """A broker, a store, and a worker process that a test may kill; the test plays the API."""

    def __init__(self, folder: Path, broker: EmbeddedBroker, **env: str) -> None:
        self.broker = broker
        self.data_dir = folder / "data"
        self.log = folder / "worker.log"
        self.env = env
        self.settings = Settings(_env_file=None, data_dir=self.data_dir, kafka_bootstrap_servers=broker.bootstrap)
        self.records = Records(FilesystemStore(self.data_dir / "objects"))
        self.bus: Bus = buses.connect(self.settings)
        self.worker: subprocess.Popen[bytes] | None = None

    async def reconnect(self) -> None:
        await self.bus.close()
        self.bus = buses.connect(self.settings)
        await self.bus.start()

    async def start_worker(self) -> None:
        env = os.environ | {
            "ENGINE": "scripted",
            "DATA_DIR": str(self.data_dir),
            "KAFKA_BOOTSTRAP_SERVERS": self.broker.bootstrap,
            "BROKER": "embedded",
            "DIARIZATION_MAX_BATCH_SIZE": "4",
            "DRAIN_LIMIT": "1",
            **self.env,
        }
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "processor"]
            self.worker = subprocess.Popen(command, env=env, stderr=log, stdout=log)  # noqa: ASYNC220 - takes no time
        await self.until(lambda: self.state == "ready")

    @property
    def state(self) -> str | None:
        status = read_state(self.data_dir, "worker")
        return status.get("state") if status.get("pid") == self.worker.pid else None

    def kill_worker(self) -> None:
        """As a power cut: nothing of it runs any more."""
        family = [psutil.Process(self.worker.pid), *psutil.Process(self.worker.pid).children(recursive=True)]
        for process in family:
            process.kill()
        psutil.wait_procs(family, timeout=10)
        self.worker.wait(timeout=10)

    async def stop_worker(self) -> int:
        self.worker.send_signal(signal.SIGTERM)
        return await self.worker_ended()

    async def worker_ended(self) -> int:
        return await asyncio.to_thread(self.worker.wait, 30)

    async def submit(self, filename: str = "a.wav", partition: int | None = None) -> Id:
        job = accept(self.records, new_job(filename))
        await self.publish(job, partition)
        return job.id, "live"

    async def publish(self, job: Job, partition: int | None = None) -> None:
        event = job_event(job)
        if partition is None:
            partition = LAYOUT.partition(job.id, job.operation, job.lane)
        await self.bus.publish(Topic.JOBS, key=event.key, value=event.data, headers=event.headers, partition=partition)

    async def cancel(self, id: Id) -> None:
        event = Event.of(CANCEL_REQUESTED, "test", id[0], event_id(*id), CancelRequested(job_id=id[0], run=id[1]))
        await self.bus.publish(Topic.JOB_CONTROL, key=event.key, value=event.data, headers=event.headers, partition=0)

    def ended(self, id: Id) -> JobState | None:
        outcome = self.records.outcome(*id)
        return outcome[0] if outcome else None

    def attempts(self, id: Id) -> int:
        return self.records.attempts(*id).count

    async def until(self, condition: Callable[[], object], limit: float = 40) -> None:
        try:
            async with asyncio.timeout(limit):
                while not condition():  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.05)
        except TimeoutError:
            print(self.log.read_text()[-6000:])
            raise

    async def all_done(self, ids: list[Id]) -> None:
        """Each run has an end and no mark, and every record is committed."""
        await self.until(lambda: all(self.ended(id) for id in ids))
        await self.until(lambda: not list(self.records.pending()))
        sent = len(await self.read(Topic.JOBS))
        async with asyncio.timeout(20):
            while await self.committed() < sent:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.1)

    async def committed(self) -> int:
        reach = await self.bus.reach(Topic.JOBS, self.settings.consumer_group)
        return sum(partition.committed or 0 for partition in reach.values())

    async def read(self, topic: Topic) -> list[Record]:
        """Everything on a topic. Where it ends the embedded broker cannot tell, so: until nothing more comes."""
        found: list[Record] = []
        async with aclosing(self.bus.read(topic)) as records:
            while True:
                try:
                    found.append(await asyncio.wait_for(anext(records), timeout=1.0))
                except TimeoutError:
                    return found

    async def told(self) -> list[Event]:
        return [Event.parse(r.headers, r.value) for r in await self.read(Topic.DIARIZATION_RESULTS)]


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with EmbeddedBroker() as broker:
        made = Stack(tmp_path, broker)
        await made.bus.start()
        await made.bus.ensure_topics(LAYOUT.topics())
        try:
            yield made
        finally:
            if made.worker is not None and made.worker.poll() is None:
                made.kill_worker()
            await made.bus.close()


async def test_fifty_jobs_and_poison_among_them(stack: Stack):
    await stack.start_worker()
    ids = [await stack.submit() for _ in range(25)]
    for value in (b"\xff\xfe", None, b"{}"):
        await stack.bus.publish(Topic.JOBS, key=b"bad", value=value, partition=0)
    twice = accept(stack.records, new_job())
    await stack.publish(twice)
    await stack.publish(twice)
    await stack.publish(new_job())  # erased
    ids += [(twice.id, "live"), *[await stack.submit() for _ in range(24)]]
    await stack.all_done(ids)
    assert {stack.ended(id) for id in ids} == {JobState.SUCCEEDED}
    told = await stack.told()
    assert sorted(event.id for event in told) == sorted(event_id(*id) for id in ids)
    assert {event.type for event in told} == {DIARIZE.completed}
    letters = await stack.read(Topic.JOBS_DLQ)
    assert [letter.value for letter in letters] == [b"\xff\xfe", None, b"{}"]
    assert {dict(letter.headers)["error"] for letter in letters} == {b"event_invalid"}


async def test_killed_in_the_middle_of_jobs_another_one_does_them(stack: Stack):
    await stack.start_worker()
    ids = [await stack.submit("sleep-1.0.wav") for _ in range(6)]
    await stack.until(lambda: any(stack.attempts(id) for id in ids))
    stack.kill_worker()
    assert not all(stack.ended(id) for id in ids)
    await stack.start_worker()
    await stack.all_done(ids)
    assert {event.id for event in await stack.told()} == {event_id(*id) for id in ids}


async def test_sigterm_hands_back_what_does_not_end_in_time(stack: Stack):
    await stack.start_worker()
    long, short = await stack.submit("sleep-60.wav"), await stack.submit("sleep-0.5.wav")
    await stack.until(lambda: stack.attempts(long) and stack.attempts(short))
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await stack.stop_worker() == 0
    assert loop.time() - began < 8
    assert stack.ended(short) is JobState.SUCCEEDED
    assert stack.ended(long) is None
    assert stack.attempts(long) == 0
    await stack.start_worker()
    await stack.until(lambda: stack.attempts(long) == 1)
    await stack.cancel(long)
    await stack.all_done([long, short])
    assert stack.ended(long) is JobState.CANCELLED


async def test_an_open_and_a_queued_job_are_cancelled(stack: Stack):
    await stack.start_worker()
    ids = [await stack.submit("sleep-30.wav") for _ in range(5)]  # one more than are open at once
    await stack.until(lambda: sum(stack.attempts(id) for id in ids) == 4)
    for id in ids:
        await stack.cancel(id)
    await stack.all_done(ids)
    assert {stack.ended(id) for id in ids} == {JobState.CANCELLED}


async def test_a_broker_that_lost_everything_is_noticed(stack: Stack):
    await stack.start_worker()
    first = await stack.submit()
    await stack.all_done([first])
    stack.broker.kill()
    await stack.broker.start()
    await stack.bus.ensure_topics(LAYOUT.topics())
    assert await stack.worker_ended() == 75
    await stack.start_worker()
    await stack.reconnect()
    second = await stack.submit()  # at the offset the worker before has seen already
    await stack.all_done([second])


async def test_what_a_lost_topic_had_is_not_committed_in_the_new_one(stack: Stack):
    """A worker that drains ends a job of a topic that is gone: the new topic's first records are read all the same."""
    stack.env |= {"DRAIN_LIMIT": "20"}
    await stack.start_worker()
    before = [await stack.submit(partition=1) for _ in range(5)]
    await stack.all_done(before)
    last = await stack.submit("sleep-4.0.wav", partition=1)
    await stack.until(lambda: stack.attempts(last))
    stack.broker.kill()
    await stack.broker.start()
    await stack.bus.ensure_topics(LAYOUT.topics())
    assert await stack.worker_ended() == 75
    assert stack.ended(last) is JobState.SUCCEEDED
    await stack.reconnect()
    assert await stack.committed() == 0
    for value in (b"bad", b"worse"):
        await stack.bus.publish(Topic.JOBS, key=b"bad", value=value, partition=1)
    after = await stack.submit(partition=1)
    await stack.start_worker()
    await stack.all_done([after])
    assert [letter.value for letter in await stack.read(Topic.JOBS_DLQ)] == [b"bad", b"worse"]


async def test_a_broker_that_is_not_there_yet_is_waited_for(stack: Stack):
    stack.broker.kill()
    starting = asyncio.create_task(stack.start_worker())
    await stack.until(lambda: stack.log.exists() and "waiting" in stack.log.read_text())
    await stack.broker.start()
    await starting
    assert await stack.stop_worker() == 0


async def test_a_job_that_takes_the_engine_down_fails_alone(stack: Stack):
    await stack.start_worker()
    good = [await stack.submit("sleep-2.0.wav") for _ in range(2)]
    bad = await stack.submit("crash.wav")
    await stack.all_done([*good, bad])
    assert [stack.ended(id) for id in good] == [JobState.SUCCEEDED] * 2
    assert stack.ended(bad) is JobState.FAILED
    assert stack.attempts(bad) == stack.settings.max_attempts
    (letter,) = await stack.read(Topic.JOBS_DLQ)
    assert dict(letter.headers)["error"] == b"engine_crashed"


async def test_an_engine_that_lets_no_thread_run_costs_the_worker_no_session(stack: Stack):
    stack.env |= {"ENGINE_STEP_LIMIT": "9", "MAX_ATTEMPTS": "2"}  # longer than a session
    await stack.start_worker()
    bad, good = await stack.submit("gil.wav"), await stack.submit("sleep-0.5.wav")
    states: set[str | None] = set()
    await stack.until(lambda: states.add(stack.state) or stack.ended(bad), limit=80)
    await stack.all_done([bad, good])
    assert stack.ended(bad) is JobState.FAILED
    assert stack.ended(good) is JobState.SUCCEEDED
    assert states == {"ready"}  # when the group shares its partitions out anew, it says another for seconds


async def test_a_second_worker_takes_over_what_the_first_has_open(stack: Stack):
    await stack.start_worker()
    first = stack.worker
    ids = [await stack.submit("sleep-4.0.wav") for _ in range(8)]
    await stack.until(lambda: sum(stack.attempts(id) for id in ids) == 4)
    await stack.start_worker()  # the group shares its partitions out anew
    first.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(first.wait, 30) == 0
    await stack.all_done(ids)
    assert {stack.ended(id) for id in ids} == {JobState.SUCCEEDED}
    assert {event.id for event in await stack.told()} == {event_id(*id) for id in ids}

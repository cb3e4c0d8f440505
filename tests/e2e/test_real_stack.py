"""The stack on Apache Kafka and MinIO, with the scripted engine: jobs go their way, and outlive kill -9 in the middle.

Under `make test-compose TESTS=tests/e2e/test_real_stack.py` it is the production stack of docker-compose.yml.
"""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import EngineOutOfMemory
from schemas.jobs import JobState
from schemas.operations import DIARIZE
from schemas.topics import Topic
from tests.support import recordings
from tests.support.compose import Running
from tests.support.compose_stack import ComposeStack
from tests.support.real import REAL_KAFKA, REASON, Server
from tests.support.servers import Kafka, Minio
from tests.support.stack import COMPOSE, Stack, running_stack
from tests.support.stores import REAL_MINIO, keys, minio_store
from tests.support.waiting import until
from turnstream import bus as buses
from turnstream.records import Records
from turnstream.settings import Settings

pytestmark = [
    pytest.mark.real,
    pytest.mark.stack,
    pytest.mark.timeout(180),
    pytest.mark.skipif(not ({REAL_KAFKA, REAL_MINIO} <= os.environ.keys() or COMPOSE in os.environ), reason=REASON),
]
BUCKET = "turnstream-e2e"
GROUP = "turnstream-e2e"


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """One of our own, to be killed."""
    with Kafka(tmp_path_factory.mktemp("kafka")) as server:
        yield server


@pytest.fixture(scope="module")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minio]:
    with Minio(tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Stack]:
    names = {"CONSUMER_GROUP": GROUP, "MINIO_BUCKET": BUCKET, "ENGINE": "scripted"}
    if COMPOSE not in os.environ:
        kafka, minio = request.getfixturevalue("kafka"), request.getfixturevalue("minio")
        names |= {"BROKER": "kafka", "KAFKA_BOOTSTRAP_SERVERS": kafka.address}
        names |= {"OBJECT_STORE": "minio", **minio.environment}
    with running_stack(tmp_path_factory.mktemp("stack"), **names) as stack:
        yield stack


@pytest.fixture
def server(stack: Stack, request: pytest.FixtureRequest) -> Server | Running:
    """That of the parameter's name."""
    return (
        stack.composed.running[request.param]
        if isinstance(stack, ComposeStack)
        else request.getfixturevalue(request.param)
    )


@pytest.fixture(scope="module")
def records(stack: Stack, request: pytest.FixtureRequest) -> Iterator[Records]:
    if isinstance(stack, ComposeStack):
        env = stack.composed.env
        store = minio_store("127.0.0.1:9000", (env["MINIO_ACCESS_KEY"], env["MINIO_SECRET_KEY"]), bucket=BUCKET)
    else:
        minio = request.getfixturevalue("minio")
        store = minio_store(minio.address, minio.KEYS, bucket=BUCKET)
    yield Records(store)
    store.close()


def submit(stack: Stack, folder: Path, name: str) -> str:
    with stack.client() as client:
        return client.submit(recordings.wav(recordings.tone(1), recordings.SAMPLE_RATE, folder / name)).id


def state(stack: Stack, job_id: str) -> JobState:
    with stack.client() as client:
        return client.job(job_id).state


def run_objects(records: Records, job_id: str) -> list[str]:
    return [key.rsplit("/", 1)[1] for key in keys(records.store, f"jobs/{job_id}/runs/")]


async def committed(stack: Stack) -> int:
    """How many job events the group has done."""
    settings = Settings(_env_file=None, broker="kafka", kafka_bootstrap_servers=stack.bootstrap)
    bus = buses.connect(settings)
    await bus.start()
    try:
        return sum(reach.committed or 0 for reach in (await bus.reach(Topic.JOBS, GROUP)).values())
    finally:
        await bus.close()


def test_twenty_jobs_end_each_with_one_result_and_one_event(stack: Stack, records: Records, tmp_path: Path):
    jobs = [submit(stack, tmp_path, f"talk-{number}.wav") for number in range(20)]
    with stack.client() as client:
        for job in jobs:
            *_, last = client.wait(job, timeout=60)
            assert last.state is JobState.SUCCEEDED
            turns = [turn.model_dump(exclude_none=True) for turn in client.result(job).segments]
            assert turns == DIARIZE.example["segments"]
    assert all(run_objects(records, job) == ["attempts.json", "ended.json", "result.json"] for job in jobs)
    until(lambda: not list(records.pending()), 30)
    assert stack.event_ids() == {f"{job}/live": 1 for job in jobs}


def test_a_job_that_fails_says_why_and_is_set_aside(stack: Stack, records: Records, tmp_path: Path):
    job = submit(stack, tmp_path, "memory.wav")
    until(lambda: state(stack, job) is JobState.FAILED, 60)
    with stack.client() as client, pytest.raises(EngineOutOfMemory):
        client.result(job)
    assert run_objects(records, job) == ["attempts.json", "ended.json", "error.json"]
    until(lambda: not list(records.pending()), 30)
    assert stack.event_ids()[f"{job}/live"] == 1
    assert stack.event_ids(Topic.JOBS_DLQ)[f"{job}/live"] == 1


@pytest.mark.parametrize("victim", ["engine", "api", "worker"])
def test_a_job_outlives_the_kill_of_a_process(victim: str, stack: Stack, records: Records, tmp_path: Path):
    job = submit_running(stack, tmp_path)
    pid = stack.pids[victim]
    os.kill(pid, signal.SIGKILL)
    until(lambda: victim in stack.pids and stack.pids[victim] != pid, 60)
    ends_well(job, stack, records)


@pytest.mark.parametrize("server", ["kafka", "minio"], indirect=True)
def test_a_job_outlives_the_kill_of_a_server(server: Server | Running, stack: Stack, records: Records, tmp_path: Path):
    job = submit_running(stack, tmp_path)
    server.kill()
    with stack.client() as client:
        until(lambda: not client.ready(), 30)
    server.start()
    ends_well(job, stack, records)


def submit_running(stack: Stack, folder: Path) -> str:
    job = submit(stack, folder, "sleep-4.wav")
    until(lambda: state(stack, job) is JobState.RUNNING, 60)
    return job


def ends_well(job: str, stack: Stack, records: Records) -> None:
    with stack.client() as client:
        until(client.ready, 60)
        *_, last = client.wait(job, timeout=100)
    assert last.state is JobState.SUCCEEDED
    assert run_objects(records, job) == ["attempts.json", "ended.json", "result.json"]
    until(lambda: not list(records.pending()), 30)
    assert stack.event_ids()[f"{job}/live"] == 1


def test_every_job_event_is_committed(stack: Stack):
    sent = stack.event_ids(Topic.JOBS).total()
    until(lambda: asyncio.run(committed(stack)) == sent, 30)

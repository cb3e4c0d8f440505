"""Growing as docs/operations.md has it, on Apache Kafka with workers: no job is lost, none has two ends."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.jobs import JobState, Lane
from schemas.topics import SLOTS, Topic
from tests.support import recordings
from tests.support.real import REAL_KAFKA, REASON
from tests.support.servers import Kafka
from tests.support.stack import CLEAN, Stack, running_stack
from tests.support.waiting import until
from turnstream import bus as buses
from turnstream.object_store.filesystem import FilesystemStore
from turnstream.records import Records
from turnstream.settings import Settings

pytestmark = [
    pytest.mark.real,
    pytest.mark.stack,
    pytest.mark.timeout(300),
    pytest.mark.skipif(REAL_KAFKA not in os.environ, reason=REASON),
]


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[Kafka]:
    with Kafka(tmp_path / "kafka") as server:
        yield server


def submit(stack: Stack, folder: Path, count: int, name: str = "talk.wav") -> list[str]:
    recording = recordings.wav(recordings.tone(0.2), recordings.SAMPLE_RATE, folder / name)
    with stack.client() as client:
        return [client.submit(recording, lane=list(Lane)[number % 2]).id for number in range(count)]


def ended(stack: Stack, jobs: list[str]) -> None:
    with stack.client() as client:
        for job in jobs:
            *_, last = client.wait(job, timeout=90)
            assert last.state is JobState.SUCCEEDED


async def committed(address: str) -> set[int]:
    """The partitions of which the workers did something."""
    settings = Settings(_env_file=None, broker="kafka", kafka_bootstrap_servers=address)
    bus = buses.connect(settings)
    await bus.start()
    try:
        reaches = await bus.reach(Topic.JOBS, settings.consumer_group)
        return {partition for partition, reach in reaches.items() if reach.committed}
    finally:
        await bus.close()


def test_jobs_go_on_while_the_layout_grows_and_after_it(kafka: Kafka, tmp_path: Path):
    env = {"BROKER": "kafka", "KAFKA_BOOTSTRAP_SERVERS": kafka.address, "ENGINE": "scripted"}
    records = Records(FilesystemStore(tmp_path / "data" / "objects"))
    with running_stack(tmp_path, **env) as old:
        jobs = submit(old, tmp_path, 10)
        grow = [sys.executable, "-m", "turnstream", "layout", "grow", "3"]
        data = {"DATA_DIR": str(old.data_dir)}
        done = subprocess.run(
            grow, env=os.environ | CLEAN | env | data, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "PARTITION_GROUPS=3" in done.stdout
        jobs += submit(old, tmp_path, 10)
        ended(old, jobs)
        jobs += submit(old, tmp_path, 6, "sleep-3.wav")  # of which some are open and some wait when it stops
    with running_stack(tmp_path, **env, PARTITION_GROUPS="3") as new:
        jobs += submit(new, tmp_path, 48)
        ended(new, jobs)
        until(lambda: {partition // SLOTS for partition in asyncio.run(committed(kafka.address))} == {0, 1, 2}, 30)
        assert new.event_ids() == {f"{job}/live": 1 for job in jobs}
        assert new.event_ids(Topic.JOBS).keys() == {f"{job}/live" for job in jobs}
    assert not list(records.pending())

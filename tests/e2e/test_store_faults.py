"""The object store goes away under a running stack and comes back: whatever was accepted ends, whatever was refused is gone."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import httpx
import pytest

from schemas.jobs import JobState
from tests.support import faulty, recordings
from tests.support.faulty import FaultyProxy
from tests.support.probes import GETS_ON, STANDS_STILL, progress
from tests.support.real import REASON
from tests.support.servers import Minio
from tests.support.stack import Stack, running_stack
from tests.support.stores import REAL_MINIO, keys, minio_store
from tests.support.waiting import until
from turnstream.object_store.minio import MinioStore

pytestmark = [
    pytest.mark.real,
    pytest.mark.stack,
    pytest.mark.timeout(300),
    pytest.mark.skipif(REAL_MINIO not in os.environ, reason=REASON),
]
BUCKET = "turnstream-faults"
AWAY = 10.0
"""Seconds, at least."""
LAG = 0.25
"""Seconds until a slow store answers. A client waits for one, three times."""


@pytest.fixture(scope="module")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minio]:
    with Minio(tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture(scope="module")
def proxy(minio: Minio) -> Iterator[FaultyProxy]:
    with FaultyProxy(minio.address) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, minio: Minio, proxy: FaultyProxy) -> Iterator[Stack]:
    with running_stack(
        tmp_path_factory.mktemp("stack"),
        OBJECT_STORE="minio",
        **{**minio.environment, "MINIO_ENDPOINT": proxy.address},
        MINIO_BUCKET=BUCKET,
        STORE_TIMEOUT="3",
        ENGINE="scripted",
        RETRY_DELAYS="1,2,4",
        ACCEPTING_LIMIT="20",
        SWEEP_INTERVAL="1",
        STALL_LIMIT="3",
    ) as stack:
        yield stack


@pytest.fixture(scope="module")
def store(minio: Minio) -> Iterator[MinioStore]:
    """What is in the bucket, past the proxy."""
    store = minio_store(minio.address, minio.KEYS, bucket=BUCKET)
    yield store
    store.close()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("audio")
    return recordings.wav(recordings.tone(1), recordings.SAMPLE_RATE, folder / "tone.wav").read_bytes()


def submit(stack: Stack, name: str, recording: bytes) -> httpx.Response:
    return httpx.post(f"{stack.url}/api/v1/jobs", files={"audio": (name, recording)}, timeout=60)


def accepted(stack: Stack, name: str, recording: bytes) -> str:
    return submit(stack, name, recording).raise_for_status().json()["id"]


FAULTS: dict[str, Callable[[FaultyProxy], AbstractContextManager[None]]] = {
    "refuses": lambda proxy: proxy.refusing(),
    "hangs": lambda proxy: proxy.failing(faulty.hang),
    "has revoked the key": lambda proxy: proxy.failing(faulty.says(403, "InvalidAccessKeyId")),
    "has a full disk": lambda proxy: proxy.failing(faulty.on("PUT POST", faulty.says(507, "XMinioStorageFull"))),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_store_that(
    fault: Callable[[FaultyProxy], AbstractContextManager[None]],
    stack: Stack,
    proxy: FaultyProxy,
    store: MinioStore,
    recording: bytes,
):
    with stack.client() as client:
        until(client.ready, 60)
        before = set(keys(store))
        names = ["sleep-8.wav"] * 4 + ["fetch-6.wav"] * 4 + ["sleep-1.wav"] * 4  # the last ones wait for a place
        jobs = [accepted(stack, name, recording) for name in names]
        until(lambda: client.job(jobs[0]).state is not JobState.QUEUED, 60)

        refused: list[httpx.Response] = []
        with fault(proxy):
            began = time.monotonic()
            while time.monotonic() - began < AWAY:
                refused.append(submit(stack, "refused.wav", recording))
            assert not client.ready()
            until(lambda: progress(stack) == STANDS_STILL, 60)
        assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(503, "store_unavailable")}
        assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)

        until(client.ready, 60)
        for job in jobs:
            *_, last = client.wait(job, timeout=120)
            assert last.state is JobState.SUCCEEDED, last.error
        until(lambda: progress(stack) == GETS_ON, 60)

    until(lambda: not keys(store, "pending/"), 60)
    made = set(keys(store)) - before
    assert {key.split("/")[1] for key in made if key.startswith("jobs/")} == set(jobs)
    assert {key[-36:] for key in made if key.startswith("index/")} == set(jobs)
    ends = Counter(
        key.split("/")[1] for key in made if key.endswith(("/result.json", "/error.json", "/cancelled.json"))
    )
    assert ends == Counter(jobs)
    told = stack.event_ids()
    assert {f"{job}/live" for job in jobs} <= set(told)


def test_a_slow_store_makes_jobs_late_and_fails_none(stack: Stack, proxy: FaultyProxy, recording: bytes):
    with stack.client() as client, proxy.failing(faulty.slow(LAG)):
        until(client.ready, 60)
        jobs = [accepted(stack, name, recording) for name in ["sleep-1.wav"] * 4 + ["fetch-1.wav"] * 4]
        for job in jobs:
            *_, last = client.wait(job, timeout=120)
            assert last.state is JobState.SUCCEEDED, last.error

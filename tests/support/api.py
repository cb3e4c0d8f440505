"""The API in this process, standing on the public twins, and what its tests ask of it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from fastapi import FastAPI

from producer_api.probing import Prober
from producer_api.service import Service
from schemas.events import JOB_REQUESTED, Event, event_id
from schemas.jobs import JobRequested
from schemas.operations import DIARIZE
from schemas.results import (
    AnalysedAudio,
    DiarizationCompleted,
    DiarizationResult,
    ModelInfo,
    Segment,
    Timings,
)
from schemas.topics import Topic
from turnstream.bus.memory import MemoryBus
from turnstream.object_store.memory import MemoryStore
from turnstream.records import Records, reference
from turnstream.settings import Settings

KEY, OTHER_KEY = "a-key", "another-key"


class SharedProber(Prober):
    """One pair of helpers for all tests: an application that stops leaves them running."""

    def close(self) -> None: ...

    def end(self) -> None:
        super().close()


@dataclass
class Api:
    app: FastAPI
    client: httpx.AsyncClient
    settings: Settings
    store: MemoryStore
    bus: MemoryBus

    @property
    def service(self) -> Service:
        return self.app.state.service

    @property
    def records(self) -> Records:
        return self.service.records

    def kept(self) -> list[str]:
        """Keys of what a submission leaves in the store."""
        return [info.key for root in ("jobs/", "pending/", "index/") for info in self.store.list(root)]

    def spools(self) -> list[Path]:
        return list(self.settings.spool_dir.glob("*"))

    def assert_nothing_stays(self) -> None:
        assert self.kept() == []
        assert self.spools() == []
        assert self.bus.records(Topic.JOBS) == []

    async def submit(self, recording: Path, **fields: str) -> httpx.Response:
        audio = (recording.name, recording.read_bytes())  # noqa: ASYNC240 - small
        return await self.client.post("/api/v1/jobs", files={"audio": audio}, data=fields)

    async def new_job(self, recording: Path) -> str:
        response = await self.submit(recording)
        assert response.status_code == 202, response.text
        return response.json()["id"]


async def until(condition: Callable[[], object], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - a condition of the outside has no event
            await asyncio.sleep(0.005)


def is_problem(response: httpx.Response, status: int, code: str) -> dict:
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json"), (
        response.text
    )
    document = response.json()
    assert document["code"] == code, document
    assert document["status"] == status
    assert document["type"] == f"urn:turnstream:problem:{code}"
    assert document["title"] and document["detail"]
    return document


def result(job_id: str, run: str = "live", warnings: Sequence[str] = ()) -> DiarizationResult:
    turn = Segment(speaker="SPEAKER_00", start=0.12, end=4.56)
    return DiarizationResult(
        job_id=job_id,
        run=run,
        segments=[turn],
        exclusive_segments=[turn],
        num_speakers=1,
        speakers=["SPEAKER_00"],
        performance=1.25,
        timings=Timings(queue=0, decode=0, load=0, segmentation=1, embedding=0.25, clustering=0, total=1.25),
        warnings=[*warnings],
        audio=AnalysedAudio(duration=5, sha256="0" * 64, sample_rate=16000, channels=1),
        model=ModelInfo(name="m", source="directory", mode="exact", device="cpu", revision="r"),
    )


async def complete(
    api: Api, job_id: str, run: str = "live", *, event: bool = True, warnings: Sequence[str] = ()
) -> None:
    """What a worker does once it has computed: store, tell, remove the mark."""
    api.records.put_result(job_id, run, result(job_id, run, warnings))
    if event:
        ending = api.records.ending(job_id, run)
        assert ending is not None
        completed = Event.of(
            DIARIZE.completed,
            "/turnstream/worker",
            subject=job_id,
            id_=event_id(job_id, run),
            data=DiarizationCompleted(job_id=job_id, run=run, object=reference(ending)),
        )
        await api.bus.publish(
            Topic.DIARIZATION_RESULTS, key=completed.key, value=completed.data, headers=completed.headers
        )
    api.records.remove_mark(job_id, run)


async def worker(api: Api, *, event: bool = True) -> None:
    """A worker that completes whatever comes."""
    async for record in api.bus.read(Topic.JOBS):
        requested = Event.parse(record.headers, record.value).read(JOB_REQUESTED, JobRequested)
        await complete(api, requested.job_id, event=event)


@asynccontextmanager
async def working(api: Api, *, event: bool = True) -> AsyncIterator[None]:
    task = asyncio.create_task(worker(api, event=event))
    yield
    task.cancel()
    await asyncio.wait([task])


def multipart(*parts: tuple[str, str | None, bytes], boundary: str = "b") -> tuple[bytes, dict[str, str]]:
    """A form written by hand: (name, filename, value) -> body, headers."""
    body = b""
    for name, filename, value in parts:
        disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename is not None else "")
        body += f"--{boundary}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + value + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), {"content-type": f"multipart/form-data; boundary={boundary}"}

"""What tests of the worker share: jobs, their events, and an engine that does as it is told."""

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

from uuid_utils import uuid7

from processor.engines.base import EngineLost, Failed, Finished, JobTask, ModelsChanged, Outcome
from schemas.errors import ErrorInfo
from schemas.events import JOB_REQUESTED, Event, event_id
from schemas.jobs import LIVE_RUN, AudioInfo, Job, JobRequested, Lane
from turnstream.bus.base import Position, Record
from turnstream.records import Mark, MarkState, Records

AUDIO = b"RIFF" + bytes(60)


def new_job(
    filename: str = "a.wav", lane: Lane = Lane.INTERACTIVE, operation: str = "diarize", owner: str = "anonymous"
) -> Job:
    audio = AudioInfo(filename=filename, size=len(AUDIO), sha256="0" * 64)
    return Job(id=str(uuid7()), operation=operation, lane=lane, owner=owner, created_at=datetime.now(UTC), audio=audio)


def accept(records: Records, job: Job, run: str = LIVE_RUN) -> Job:
    """What the API does before it publishes."""
    records.create(job, io.BytesIO(AUDIO))
    records.put_mark(job.id, run, Mark(state=MarkState.QUEUED, at=datetime.now(UTC)))
    return job


def job_event(job: Job, run: str = LIVE_RUN) -> Event:
    fields = {name: getattr(job, name) for name in Job.model_fields if name != "id"}
    request = JobRequested(job_id=job.id, run=run, **fields)
    return Event.of(JOB_REQUESTED, "turnstream/api", job.id, event_id(job.id, run), request)


def record_of(event: Event, offset: int = 0, partition: int = 0) -> Record:
    return Record(Position("gpu-jobs", partition, offset), event.key, event.data, event.headers)


def finished(id: tuple[str, str], segments: int = 1) -> Finished:
    turns = [{"speaker": "SPEAKER_00", "start": float(n), "end": n + 1.0} for n in range(segments)]
    steps = dict.fromkeys(("decode", "load", "segmentation", "embedding", "clustering", "total"), 0.1)
    return Finished(
        id,
        {
            "segments": turns,
            "exclusive_segments": turns,
            "num_speakers": 1,
            "speakers": ["SPEAKER_00"],
            "performance": 0.1,
            "timings": steps,
            "audio": {"duration": 1.0, "sha256": "0" * 64, "sample_rate": 16000, "channels": 1},
            "model": {"name": "told", "source": "test", "mode": "exact", "device": "cpu", "revision": "0"},
        },
    )


class FreeFlow:
    """A source that cannot be paused."""

    def pause(self, topic: str, partition: int) -> None: ...

    def resume(self, topic: str, partition: int) -> None: ...

    def behind(self) -> tuple[int, ...]:
        return ()

    def lag(self) -> int:
        return 0


class ToldEngine:
    """Holds what is opened until the test says how it ends; loads a model, and unloads all others, as soon as it is told."""

    pid = 4242

    def __init__(self) -> None:
        self.open_ids: list[tuple[str, str]] = []
        self.opened: list[tuple[str, str]] = []
        self.cancelled: list[tuple[str, str]] = []
        self.tasks: list[JobTask] = []
        self.focused: list[str] = []
        self.most_open = 0
        self._outcomes: asyncio.Queue[Outcome | EngineLost | ModelsChanged] = asyncio.Queue()

    async def start(self) -> None: ...

    async def open(self, task: JobTask) -> None:
        self.opened.append(task.id)
        self.tasks.append(task)
        self.open_ids.append(task.id)
        self.most_open = max(self.most_open, len(self.open_ids))

    async def cancel(self, id: tuple[str, str]) -> None:
        self.cancelled.append(id)
        if id in self.open_ids:
            self.open_ids.remove(id)

    async def focus(self, model: str) -> None:
        self.focused.append(model)
        self.say(ModelsChanged(resident=(model,)))

    async def prefetch(self, model: str) -> None: ...

    async def outcomes(self) -> AsyncIterator[Outcome | EngineLost | ModelsChanged]:
        while True:
            yield await self._outcomes.get()

    async def close(self) -> None: ...

    # What a test says

    def say(self, outcome: Outcome | EngineLost | ModelsChanged) -> None:
        self._outcomes.put_nowait(outcome)

    def finish(self, id: tuple[str, str], result: Mapping[str, Any] | None = None) -> None:
        """With what the engine found; by default one turn."""
        self.open_ids.remove(id)
        self.say(finished(id) if result is None else Finished(id, dict(result)))

    def fail(self, id: tuple[str, str], error: ErrorInfo) -> None:
        self.open_ids.remove(id)
        self.say(Failed(id, error))

    def die(self, error: ErrorInfo) -> None:
        lost, self.open_ids = tuple(self.open_ids), []
        self.say(EngineLost(lost, error))

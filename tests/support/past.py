"""Jobs that were accepted when a test says so, on the public twins."""

import io
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from unittest.mock import patch

from schemas.errors import EngineCrashed
from schemas.events import JOB_REQUESTED, Event
from schemas.jobs import LIVE_RUN, AudioInfo, Job, JobRequested, JobState
from schemas.topics import Topic
from tests.support.api import result
from turnstream.bus.memory import MemoryBus
from turnstream.object_store.memory import MemoryStore
from turnstream.operations import installed
from turnstream.publishing import publish_job
from turnstream.records import Attempts, Records, ReplayRequest
from turnstream.replay.asking import Order, request_of, start
from turnstream.replay.publisher import Publisher
from turnstream.replay.standing import Standing, standing
from turnstream.replay.survey import Survey
from turnstream.resumable import Tally
from turnstream.settings import Settings

NOW = datetime.now(UTC).replace(microsecond=0)
AUDIO = b"RIFF" + bytes(60)


def id_at(at: datetime, random: Random) -> str:
    """A UUIDv7 of that millisecond."""
    bits = int(at.timestamp() * 1000) << 80 | 7 << 76 | random.getrandbits(12) << 64 | 2 << 62 | random.getrandbits(62)
    digits = f"{bits:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def order_of(name: str = "again", **order: object) -> Order:
    return Order(name=name, **({"since": "30d"} | order))


class Past:
    def __init__(self, data_dir: Path, **settings: object) -> None:
        self.settings = Settings(_env_file=None, data_dir=data_dir, **settings)
        self.store = MemoryStore()
        self.records = Records(self.store)
        self.bus = MemoryBus()
        self.operations = installed()
        self.layout = self.records.agree_on_layout(1, self.operations)
        self.random = Random(7)  # noqa: S311 - not for secrets

    async def begin(self) -> "Past":
        await self.bus.ensure_topics(self.layout.topics())
        return self

    async def job(
        self,
        hours_ago: float = 1,
        ended: JobState | None = JobState.SUCCEEDED,
        *,
        operation: str = "diarize",
        params: Mapping[str, object] | None = None,
        uploading: float = 0,
    ) -> str:
        """A job that was accepted then, `uploading` seconds after its id was made, and published; and how its first run ended."""
        at = NOW - timedelta(hours=hours_ago)
        job = Job(
            id=id_at(at - timedelta(seconds=uploading), self.random),
            operation=operation,
            params=dict(params or {}),
            owner="anonymous",
            created_at=at,
            audio=AudioInfo(filename="a.wav", size=len(AUDIO), sha256="0" * 64),
        )
        self.records.create(job, io.BytesIO(AUDIO))
        mark = await publish_job(self.bus, self.layout, job, LIVE_RUN, topic_id=await self.topic_id(), source="test")
        self.records.put_mark(job.id, LIVE_RUN, mark)
        self.end(job.id, LIVE_RUN, ended)
        return job.id

    def ids(self) -> list[str]:
        """Of all jobs."""
        return [found.job_id for found in self.records.glimpses(NOW - timedelta(days=60), NOW + timedelta(days=1), "")]

    async def lie_where_they_were_accepted(self) -> None:
        """Have the event of each job lie on the topic with the time of its acceptance, as it does where nothing is late."""
        self.bus.forget()
        await self.begin()
        for job in map(self.records.job, self.ids()):
            with patch("turnstream.bus.memory.time.time_ns", return_value=int(job.created_at.timestamp() * 1e9)):
                await publish_job(self.bus, self.layout, job, LIVE_RUN, topic_id="", source="test")

    def open(self, job_id: str, run: str) -> None:
        """What a worker does when it has it open."""
        until = datetime.now(UTC) + timedelta(minutes=1)
        self.records.put_attempts(job_id, run, Attempts(count=1, worker="worker/1", until=until))

    def end(self, job_id: str, run: str, how: JobState | None) -> None:
        """What a worker does."""
        match how:
            case JobState.SUCCEEDED:
                self.records.put_result(job_id, run, result(job_id, run))
            case JobState.FAILED:
                self.records.put_error(job_id, run, EngineCrashed().info)
            case JobState.CANCELLED:
                self.records.put_cancelled(job_id, run)
            case _:
                return
        self.records.remove_mark(job_id, run)

    async def topic_id(self) -> str:
        return await self.bus.topic_id(Topic.JOBS) or ""

    async def replay(self, name: str = "again", *, ahead: int = 1000, rehearse: bool = False, **order: object) -> Tally:
        """Of all there is, unless it is said otherwise."""
        if rehearse:
            request = self.request(order_of(name, **order))
            survey = Survey(self.settings, self.records, self.operations, name, request, self.bus)
            await survey.look()
            return await survey.rehearse(4, lambda _: None)
        publisher = self.publisher(name, ahead=ahead, **order)
        await publisher.survey.look()
        return await publisher.publish(4, lambda _: None)

    def publisher(self, name: str = "again", *, ahead: int = 1000, **order: object) -> Publisher:
        asked = order_of(name, **order)
        request = start(self.records, asked, self.request(asked))
        return Publisher(self.settings, self.bus, self.records, self.operations, name, request, ahead=ahead)

    def request(self, order: Order) -> ReplayRequest:
        return request_of(self.settings, self.records, self.operations, order)

    def published(self, run: str) -> list[JobRequested]:
        """The job events of a run."""
        events = [Event.parse(each.headers, each.value) for each in self.bus.records(Topic.JOBS) if each.headers]
        asked = [event.read(JOB_REQUESTED, JobRequested) for event in events]
        return [each for each in asked if each.run == run]

    def jobs_of(self, run: str) -> list[str]:
        return sorted(each.job_id for each in self.published(run))

    async def standing(self, name: str = "again") -> Standing:
        request = self.records.replay(name)
        assert request is not None
        return await standing(self.settings, self.records, self.operations, name, request)

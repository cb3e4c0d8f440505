"""Jobs with a recording, an end or a failure, for those who keep records of them."""

import io
from datetime import UTC, datetime

from schemas.errors import ErrorInfo
from schemas.jobs import AudioInfo, Job
from turnstream.records import Mark, MarkState, Records

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
AUDIO = b"RIFF and so on"
RESULT = ErrorInfo(code="stands_for", detail="a result: any model will do")
FAILURE = ErrorInfo(code="engine_failed", detail="it did not work")
ACCEPTED = Mark(state=MarkState.ACCEPTING, at=NOON)


def job_id(number: int) -> str:
    return f"0196{number:04x}-0000-7000-8000-{number:012x}"


def make_job(number: int = 1, owner: str = "alice", created_at: datetime = NOON) -> Job:
    audio = AudioInfo(filename="a.wav", size=len(AUDIO), sha256="0" * 64)
    return Job(id=job_id(number), owner=owner, created_at=created_at, audio=audio)


def create(records: Records, job: Job) -> Job:
    records.create(job, io.BytesIO(AUDIO))
    return job

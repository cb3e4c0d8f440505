"""Every event that Turnstream publishes: what docs/asyncapi.json and docs/schemas/ are made of."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.base import Value
from schemas.errors import EngineFailed
from schemas.events import CANCEL_REQUESTED, CONTENT_TYPE, JOB_PROGRESSED, JOB_REQUESTED, SPEC_VERSION, event_id
from schemas.jobs import LIVE_RUN, CancelRequested, JobProgressed, JobRequested
from schemas.operation import Operation
from schemas.operations import DIARIZE, TRANSCRIBE, TRANSCRIPT
from schemas.results import RunCompleted, RunFailed
from schemas.topics import Topic

JOB_ID = "019a1c2e-7c00-7000-8000-000000000000"
RUN = {"job_id": JOB_ID, "run": LIVE_RUN}
JSON_SCHEMA = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]
_API = "/turnstream/producer-api"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    name: str
    """Of the type of event: `ce_type`."""
    topic: str
    summary: str
    data: type[Value]
    examples: Mapping[str, Mapping[str, Any]]
    """Values by what they are examples of."""
    source: str = "turnstream/worker"
    """`ce_source`."""
    suffix: str = ""
    """What `ce_id` has after job id and run, as an example."""

    @property
    def example_headers(self) -> dict[str, str]:
        return {
            "ce_specversion": SPEC_VERSION,
            "ce_id": event_id(JOB_ID, LIVE_RUN) + self.suffix,
            "ce_type": self.name,
            "ce_source": self.source,
            "ce_subject": JOB_ID,
            "ce_time": "2026-01-02T03:04:05.678901+00:00",
            "content-type": CONTENT_TYPE,
            "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        }

    @property
    def schema(self) -> Schema:
        """JSON Schema of the value, a document of its own."""
        return {
            "$schema": JSON_SCHEMA,
            "$id": f"urn:turnstream:schema:{self.name}",
            **self.data.model_json_schema(mode="serialization"),
        }


def published(operations: tuple[Operation, ...] = (DIARIZE, TRANSCRIBE, TRANSCRIPT)) -> tuple[Published, ...]:
    """Those of jobs, and the ends of these operations."""
    return (*_OF_JOBS, *(event for operation in operations for event in _ends(operation)))


_OF_JOBS = (
    Published(
        name=JOB_REQUESTED,
        topic=Topic.JOBS,
        summary="A job is to be computed under the name of a run",
        source=_API,
        data=JobRequested,
        examples={
            "diarize": {
                **RUN,
                "operation": "diarize",
                "lane": "interactive",
                "params": {"max_speakers": 4},
                "owner": "2bb80d537b1da3e3",
                "created_at": "2026-01-02T03:04:05.678901Z",
                "audio": {
                    "filename": "talk.mp3",
                    "content_type": "audio/mpeg",
                    "size": 481024,
                    "sha256": "3a7bd3e2360a3d29eea436fcfb7e44c735d117c42d1c1835420b6b9942dd4f1b",
                    "duration": 30.0,
                },
            }
        },
    ),
    Published(
        name=JOB_PROGRESSED,
        topic=Topic.JOB_PROGRESS,
        summary="How far a running job is: a hint, at most one a second",
        suffix="/1/embedding/0.5000",
        data=JobProgressed,
        examples={
            "half": {
                **RUN,
                "state": "running",
                "progress": {"stage": "embedding", "fraction": 0.5, "eta": 12.5},
            }
        },
    ),
    Published(
        name=CANCEL_REQUESTED,
        topic=Topic.JOB_CONTROL,
        summary="Somebody asked that a run be stopped",
        source=_API,
        suffix="/cancel",
        data=CancelRequested,
        examples={"cancel": RUN},
    ),
)


def _ends(operation: Operation) -> Iterator[Published]:
    size = 4_204_800
    sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    reference = {"key": f"jobs/{JOB_ID}/runs/{LIVE_RUN}/result.json", "sha256": sha256, "size": size}
    yield Published(
        name=operation.completed,
        topic=operation.topic,
        summary=f"A run has its result: {operation.summary}",
        data=RunCompleted[operation.result],
        examples={
            "inline": {**RUN, "object": {**reference, "size": 1024}, "result": {**RUN, **operation.example}},
            "by reference": {**RUN, "object": reference},
        },
    )
    yield Published(
        name=operation.failed,
        topic=operation.topic,
        summary="A run ended without a result: it failed, or it was cancelled",
        data=RunFailed,
        examples={
            "failed": {**RUN, "error": EngineFailed("The engine could not process this recording").info.model_dump()},
            "cancelled": {**RUN, "error": {"code": "job_cancelled", "detail": "The job was cancelled"}},
        },
    )

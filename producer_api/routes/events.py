"""Jobs as they go on."""

from contextlib import ExitStack
from typing import Annotated, Any

from fastapi import APIRouter, Header
from starlette.responses import Response

from producer_api.event_stream import LAST, EventStream, events
from producer_api.problems import declare
from producer_api.routes.answers import JOB_ERRORS
from producer_api.routes.jobs import Run
from producer_api.service import Owner, TheService
from schemas.errors import Busy
from schemas.jobs import LIVE_RUN

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])

EVENT: dict[str, Any] = {
    "type": "object",
    "description": "one event",
    "required": ["event", "id", "data"],
    "properties": {
        "event": {"type": "string", "enum": ["state", "progress", "result"]},
        "id": {"type": "string", "description": "for `Last-Event-ID`"},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {
                "anyOf": [
                    {"$ref": "#/components/schemas/JobView"},
                    {"$ref": "#/components/schemas/Progress"},
                    {
                        "type": "object",
                        "description": "the end: where the result is, and the result itself up to 256 KiB",
                        "required": ["job_id", "run", "address"],
                        "properties": {
                            "job_id": {"type": "string"},
                            "run": {"type": "string"},
                            "address": {"type": "string"},
                            "result": {"type": "object"},
                        },
                    },
                ]
            },
        },
    },
}
"""Before OpenAPI 3.2 the schema of a stream is that of each of its events."""


@router.get(
    "/{job_id}/events",
    status_code=200,
    response_class=EventStream,
    responses={
        200: {"content": {"text/event-stream": {"schema": EVENT}}},
        204: {"description": "The end was seen: `Last-Event-ID` is that of the last event"},
    }
    | declare(*JOB_ERRORS, Busy),
)
async def get_events(
    job_id: str,
    service: TheService,
    owner: Owner,
    run: Run = LIVE_RUN,
    last_event_id: Annotated[str, Header(description="of the last event that was seen: only newer ones come")] = "",
) -> Response:
    """A job as server-sent events, until its end: `state`, the job whenever its state changes or its place in the queue;
    `progress`, with the seconds left in `eta`; `result`, with the result itself up to 256 KiB and its address.

    A browser's `EventSource` goes on after a broken line with what it has not seen, and stops after the end.
    """
    job = await service.job_of_run(job_id, owner, run)
    if last_event_id in LAST:
        if await service.threads.run(service.records.ended, job.id, run):
            return Response(status_code=204)
        last_event_id = ""  # it is none of ours
    with ExitStack() as opened:
        waiter = opened.enter_context(service.results.stream(job.id, run))
        return EventStream(opened.pop_all(), events(service, job, run, waiter, last_event_id))

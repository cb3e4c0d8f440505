"""One call from recording to turns."""

from contextlib import ExitStack
from functools import partial

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from producer_api.addresses import address
from producer_api.idempotency import IdempotencyKey
from producer_api.intake import new_job_id
from producer_api.openapi import diarize_form, example
from producer_api.order import order_of
from producer_api.problems import declare
from producer_api.routes.answers import INTAKE_ERRORS, handed_in, json_result, replayed
from producer_api.service import Owner, TheService
from producer_api.waiting import Prefer, Preferences, applied
from schemas.errors import Busy, EngineFailed, JobCancelled, WaitExpired
from schemas.jobs import LIVE_RUN, JobView
from schemas.operations import DIARIZE
from schemas.results import DiarizationResult

router = APIRouter(prefix="/api/v1", tags=["diarize"])


@router.post(
    "/diarize/file",
    response_model=DiarizationResult,
    responses=declare(*INTAKE_ERRORS, Busy, WaitExpired, JobCancelled, EngineFailed)
    | {
        200: {"content": {"application/json": {"example": example(DIARIZE)}}},
        202: {"model": JobView, "description": "With `Prefer: respond-async`: the job, which goes on"},
    },
    openapi_extra=diarize_form(),
)
async def diarize_file(
    request: Request, service: TheService, owner: Owner, key: IdempotencyKey, prefer: Prefer
) -> Response:
    """Who spoke when in a recording, in one call.

    Waits up to WAIT_LIMIT seconds, or as many as `Prefer: wait=N` says. After that the answer is 504 with the job's address, or
    202 with `Prefer: respond-async`, and the job goes on, as it does when the caller hangs up.
    """
    job_id = new_job_id()
    results, seconds = service.results, _patience(prefer, service.settings.wait_limit)
    with ExitStack() as waiting:
        waiter = waiting.enter_context(results.waiter(job_id, LIVE_RUN))
        job = await service.intake.submit(request, job_id, owner, partial(order_of, DIARIZE), key)
        if job.id != job_id:  # it was handed in before
            waiter = waiting.enter_context(results.waiter(job.id, LIVE_RUN, published=True))
        ending = await results.wait(waiter, seconds)
    headers = replayed(job.id != job_id) | applied(prefer.wait, prefer.respond_async)
    if ending is None and prefer.respond_async:
        return handed_in(service.first_sight(job), headers)
    if ending is None:
        raise WaitExpired(f"Ask {address(job.id)} what has become of the job; it goes on", job=address(job.id))
    return json_result(job.id, ending, headers)


def _patience(prefer: Preferences, limit: float) -> float:
    """Seconds to wait."""
    if prefer.wait is not None:
        return prefer.wait
    return 0 if prefer.respond_async else limit

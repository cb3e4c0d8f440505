"""One call from recording to turns."""

from functools import partial

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from producer_api.intake import new_job_id
from producer_api.openapi import diarize_form, example
from producer_api.order import order_of
from producer_api.problems import declare
from producer_api.routes.answers import INTAKE_ERRORS, address, json_result
from producer_api.service import Owner, TheService
from schemas.errors import Busy, EngineFailed, JobCancelled, WaitExpired
from schemas.jobs import LIVE_RUN
from schemas.operations import DIARIZE
from schemas.results import DiarizationResult

router = APIRouter(prefix="/api/v1", tags=["diarize"])


@router.post(
    "/diarize/file",
    response_model=DiarizationResult,
    responses=declare(*INTAKE_ERRORS, Busy, WaitExpired, JobCancelled, EngineFailed)
    | {200: {"content": {"application/json": {"example": example(DIARIZE)}}}},
    openapi_extra=diarize_form(),
)
async def diarize_file(request: Request, service: TheService, owner: Owner) -> Response:
    """Who spoke when in a recording, in one call.

    Waits up to WAIT_LIMIT seconds. After that the answer is 504 with the job's address, and the job goes on, as it does
    when the caller hangs up.
    """
    job_id = new_job_id()
    with service.results.waiter(job_id, LIVE_RUN) as waiter:
        await service.intake.submit(request, job_id, owner, partial(order_of, DIARIZE))
        ending = await service.results.wait(waiter, service.settings.wait_limit)
    if ending is None:
        raise WaitExpired(f"Ask {address(job_id)} what has become of the job; it goes on", job=address(job_id))
    return json_result(job_id, ending)

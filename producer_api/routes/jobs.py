"""Jobs: hand one in, see what became of it, take its result, stop it, erase it."""

import logging
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from producer_api.cancelling import cancel
from producer_api.intake import new_job_id
from producer_api.negotiation import choose
from producer_api.order import read_order
from producer_api.problems import declare
from producer_api.routes.answers import INTAKE_ERRORS, JOB_ERRORS, address, raise_failure
from producer_api.service import Owner, Service, TheService
from schemas.errors import (
    EngineFailed,
    InvalidRequest,
    JobCancelled,
    JobNotFound,
    NotAcceptable,
    ResultNotReady,
    StoreUnavailable,
    Unauthorized,
)
from schemas.jobs import LIVE_RUN, Job, JobPage, JobView, RunName

log = logging.getLogger("turnstream.api")
router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])

Run = Annotated[RunName, Query(description="name of the computation; the first one is `live`")]
PAGE_LIMIT = 100


@router.post("", status_code=202, response_model=JobView, responses=declare(*INTAKE_ERRORS))
async def submit(request: Request, service: TheService, owner: Owner) -> Response:
    """Hand in a job. The answer comes as soon as the job is safe; `Location` is where to ask for it."""
    job = await service.intake.submit(request, new_job_id(), owner, partial(read_order, operations=service.operations))
    view = await service.view(job)
    return JSONResponse(
        view.model_dump(mode="json", exclude_none=True), status_code=202, headers={"Location": address(job.id)}
    )


@router.get("", response_model_exclude_none=True, responses=declare(Unauthorized, InvalidRequest, StoreUnavailable))
async def list_jobs(
    service: TheService,
    owner: Owner,
    limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT)] = 20,
    after: Annotated[
        str | None, Query(pattern=r"^\d{13}-[0-9a-f-]{36}$", description="`next` of the page before")
    ] = None,
) -> JobPage:
    """The jobs of the caller's key, newest first."""

    def page() -> JobPage:
        jobs, following = service.records.jobs(owner, after=after, limit=limit)
        return JobPage(jobs=[service.look_at(job) for job in jobs], next=following)

    return await service.threads.run(page)


@router.get("/{job_id}", response_model_exclude_none=True, responses=declare(*JOB_ERRORS))
async def get_job(job_id: str, service: TheService, owner: Owner) -> JobView:
    """The state of a job: queued (with how many are ahead of it, where that can be told), running (with progress), succeeded,
    failed (with error) or cancelled.
    """
    return await service.view_with_place(await service.job(job_id, owner))


@router.get(
    "/{job_id}/result", responses=declare(*JOB_ERRORS, ResultNotReady, JobCancelled, NotAcceptable, EngineFailed)
)
async def get_result(
    job_id: str,
    service: TheService,
    owner: Owner,
    format: Annotated[str | None, Query(description="goes before Accept")] = None,
    run: Run = LIVE_RUN,
    accept: Annotated[str, Header()] = "*/*",
) -> Response:
    """The result of a job. While there is none: 409. The result of a failed job is its error, as a problem."""
    job = await service.job(job_id, owner)
    chosen = choose(service.formats(job), format, accept)
    ending = await service.threads.run(service.records.ending, job.id, run)
    if ending is None:
        await _require_run(service, job, run)
        raise ResultNotReady(f"Job {job.id} has no result yet", job=address(job.id))
    raise_failure(job.id, ending)
    content = await service.threads.run(service.written, job, ending.body, chosen)
    return Response(content, media_type=chosen.media_type, headers={"Vary": "Accept"})


@router.post("/{job_id}/cancel", response_model_exclude_none=True, responses=declare(*JOB_ERRORS))
async def cancel_job(job_id: str, service: TheService, owner: Owner, run: Run = LIVE_RUN) -> JobView:
    """Stop a job. One that has ended already stays as it is."""
    job = await service.job(job_id, owner)
    await _require_run(service, job, run)
    await cancel(service, job, run)
    return await service.view(job)


@router.delete("/{job_id}", status_code=204, responses=declare(*JOB_ERRORS))
async def erase_job(job_id: str, service: TheService, owner: Owner) -> None:
    """Erase a job with its recording and its results; if it has not ended, it is stopped first."""
    job = await service.job(job_id, owner)
    await cancel(service, job, LIVE_RUN)
    await service.threads.run(service.records.erase, job)


async def _require_run(service: Service, job: Job, run: str) -> None:
    """Raises JobNotFound: a run is known by its mark, or by its end."""

    def known() -> bool:
        return service.records.mark(job.id, run) is not None or service.records.ended(job.id, run)

    if run != LIVE_RUN and not await service.threads.run(known):
        raise JobNotFound(f"Job {job.id} has no run {run}")

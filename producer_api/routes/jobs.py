"""Jobs: hand one in, see what became of it, take its result, stop it, erase it."""

import logging
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.requests import Request
from starlette.responses import Response

from producer_api.addresses import address
from producer_api.cancelling import cancel
from producer_api.idempotency import IdempotencyKey
from producer_api.intake import new_job_id
from producer_api.negotiation import choose
from producer_api.order import read_order
from producer_api.problems import declare
from producer_api.routes.answers import (
    INTAKE_ERRORS,
    JOB_ERRORS,
    RUN_ERRORS,
    handed_in,
    raise_failure,
    replayed,
)
from producer_api.service import Owner, TheService
from producer_api.waiting import Prefer, wait_for_end
from schemas.errors import (
    EngineFailed,
    InvalidRequest,
    JobCancelled,
    NotAcceptable,
    ResultNotReady,
    StoreUnavailable,
    Unauthorized,
)
from schemas.jobs import LIVE_RUN, JobPage, JobRuns, JobView, RunName
from schemas.turns import Turns

log = logging.getLogger("turnstream.api")
router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])

Run = Annotated[RunName, Query(description="name of the computation; the first one is `live`")]
TurnsShown = Annotated[
    Turns | None,
    Query(
        description="overlapping: the turns as they were, which is the default; exclusive: with one speaker at a time. "
        "For formats that show turns: rttm, and csv, srt and vtt of `diarize`; json of `diarize` has both"
    ),
]
PAGE_LIMIT = 100


@router.post(
    "",
    status_code=202,
    response_model=JobView,
    responses={200: {"model": JobView, "description": "With `Prefer: wait=N`: the run has ended"}}
    | declare(*INTAKE_ERRORS),
)
async def submit(request: Request, service: TheService, owner: Owner, key: IdempotencyKey, prefer: Prefer) -> Response:
    """Hand in a job. The answer comes as soon as the job is safe; `Location` is where to ask for it. With `Prefer: wait=N`
    the answer is 200 where the job ends within N seconds: as it ended.
    """
    job_id = new_job_id()
    read = partial(read_order, operations=service.operations)
    job = await service.intake.submit(request, job_id, owner, read, key)
    ending, waited = await wait_for_end(service.results, job.id, LIVE_RUN, prefer)
    headers = replayed(job.id != job_id) | waited
    if ending is not None:
        return handed_in(await service.view(job), headers, status=200)
    seen = service.heard(job, LIVE_RUN) if waited else None
    return handed_in(seen or service.first_sight(job), headers)


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
async def get_job(
    job_id: str, service: TheService, owner: Owner, response: Response, prefer: Prefer, run: Run = LIVE_RUN
) -> JobView:
    """The state of a job: queued (with how many are ahead of it, where that can be told), running (with progress), succeeded,
    failed (with error) or cancelled. With `Prefer: wait=N` the answer comes when it has ended, N seconds from now at the
    latest.
    """
    job = await service.job_of_run(job_id, owner, run)
    _, waited = await wait_for_end(service.results, job.id, run, prefer)
    response.headers.update(waited)
    view = await service.view_with_place(job, run)
    if waited and not view.state.ended:
        await service.job(job_id, owner)  # erased meanwhile, maybe
    return view


@router.get(
    "/{job_id}/result", responses=declare(*JOB_ERRORS, ResultNotReady, JobCancelled, NotAcceptable, EngineFailed)
)
async def get_result(
    job_id: str,
    service: TheService,
    owner: Owner,
    prefer: Prefer,
    format: Annotated[str | None, Query(description="goes before Accept")] = None,
    turns: TurnsShown = None,
    run: Run = LIVE_RUN,
    accept: Annotated[str, Header()] = "*/*",
) -> Response:
    """The result of a job. While there is none: 409; with `Prefer: wait=N` only after N seconds. The result of a failed job is
    its error, as a problem.
    """
    job = await service.job_of_run(job_id, owner, run)
    chosen = choose(service.formats(job), format, accept, turns)
    ending, waited = await wait_for_end(service.results, job.id, run, prefer)
    ending = ending or await service.threads.run(service.records.ending, job.id, run)
    if ending is None:
        await service.job(job_id, owner)  # erased meanwhile, maybe
        raise ResultNotReady(f"Job {job.id} has no result yet", job=address(job.id, run))
    raise_failure(ending, address(job.id, run))
    content = await service.threads.run(service.written, job, ending.body, chosen)
    return Response(content, media_type=chosen.media_type, headers={"Vary": "Accept"} | waited)


@router.get("/{job_id}/runs", response_model_exclude_none=True, responses=declare(*JOB_ERRORS))
async def list_runs(job_id: str, service: TheService, owner: Owner) -> JobRuns:
    """All computations of a job with their parameters and states, in the order in which they were asked for."""
    return await service.threads.run(service.runs, await service.job(job_id, owner))


@router.post(
    "/{job_id}/runs",
    status_code=202,
    response_model=JobView,
    responses=declare(*RUN_ERRORS),
)
async def submit_run(job_id: str, request: Request, service: TheService, owner: Owner) -> Response:
    """Compute a job once more with other parameters; what was found before stays. Parameters that the form does not name are
    those of the job, and an empty value takes one back. What the networks said the first time is used again where they would
    say the same: then another number of speakers takes seconds.

    The same call again, with a name, is answered in the same way and computes nothing.
    """
    job, run = await service.reruns.submit(request, await service.job(job_id, owner))
    return handed_in(await service.view(job, run))


@router.post("/{job_id}/cancel", response_model_exclude_none=True, responses=declare(*JOB_ERRORS))
async def cancel_job(job_id: str, service: TheService, owner: Owner, run: Run = LIVE_RUN) -> JobView:
    """Stop a job. One that has ended already stays as it is."""
    job = await service.job_of_run(job_id, owner, run)
    await cancel(service, job, run)
    return await service.view(job, run)


@router.delete("/{job_id}", status_code=204, responses=declare(*JOB_ERRORS))
async def erase_job(
    job_id: str, service: TheService, owner: Owner, run: Annotated[str | None, Query(include_in_schema=False)] = None
) -> None:
    """Erase a job with its recording and its results; what of it has not ended is stopped first."""
    if run is not None:  # elsewhere it names one run: who sends it here expects the others to stay
        raise InvalidRequest("DELETE erases the job with all its runs, and takes no `run`")
    job = await service.job(job_id, owner)
    for each in await service.threads.run(service.records.run_names, job.id):
        await cancel(service, job, each)
    await service.threads.run(service.records.erase, job.id)

"""What several routes answer with."""

from collections.abc import Mapping

from starlette.responses import JSONResponse, Response

from producer_api.addresses import address
from producer_api.idempotency import REPLAYED
from schemas.errors import (
    AudioEmpty,
    AudioFormatRefused,
    AudioMissing,
    AudioStreamMissing,
    AudioTooLong,
    AudioUnreadable,
    BrokerUnavailable,
    Busy,
    InvalidRequest,
    JobNotFound,
    KeyInUse,
    KeyReused,
    LayoutMismatch,
    OperationDisabled,
    RunExists,
    StoreUnavailable,
    TooManyRuns,
    Unauthorized,
    UnknownOperation,
    UploadTimeout,
    UploadTooLarge,
    WebhookRefused,
    WebhooksDisabled,
    from_info,
)
from schemas.formats import JSON
from schemas.jobs import JobView
from turnstream.records import Ending

JOB_ERRORS = (Unauthorized, JobNotFound, InvalidRequest, StoreUnavailable)
INTAKE_ERRORS = (
    Unauthorized,
    OperationDisabled,
    UploadTooLarge,
    UploadTimeout,
    InvalidRequest,
    UnknownOperation,
    AudioMissing,
    AudioEmpty,
    AudioUnreadable,
    AudioFormatRefused,
    AudioStreamMissing,
    AudioTooLong,
    WebhookRefused,
    WebhooksDisabled,
    BrokerUnavailable,
    StoreUnavailable,
    LayoutMismatch,
    Busy,
    KeyInUse,
    KeyReused,
)
RUN_ERRORS = (
    Unauthorized,
    JobNotFound,
    OperationDisabled,
    UploadTooLarge,
    UploadTimeout,
    InvalidRequest,
    UnknownOperation,
    RunExists,
    TooManyRuns,
    WebhookRefused,
    WebhooksDisabled,
    BrokerUnavailable,
    StoreUnavailable,
    LayoutMismatch,
)


def handed_in(view: JobView, headers: Mapping[str, str] | None = None, *, status: int = 202) -> Response:
    where = {"Location": address(view.id, view.run), **(headers or {})}
    return JSONResponse(view.model_dump(mode="json", exclude_none=True), status_code=status, headers=where)


def replayed(said: bool) -> dict[str, str]:
    """The header of an answer to what was submitted before, under the same Idempotency-Key."""
    return {REPLAYED: "true"} if said else {}


def json_result(job_id: str, ending: Ending, headers: Mapping[str, str]) -> Response:
    """The stored result as it is. Raises the error with which the run ended instead."""
    raise_failure(ending, address(job_id))
    return Response(ending.body, media_type=JSON.media_type, headers=headers)


def raise_failure(ending: Ending, job: str) -> None:
    """Raises the error with which a run ended, if it did; `job` is where to ask for the run."""
    if ending.error is not None:
        error = from_info(ending.error)
        error.extra["job"] = job
        raise error

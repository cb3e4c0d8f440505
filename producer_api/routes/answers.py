"""What several routes answer with."""

from starlette.responses import Response

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
from schemas.jobs import LIVE_RUN
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


def address(job_id: str, run: str = LIVE_RUN) -> str:
    return f"/api/v1/jobs/{job_id}" + ("" if run == LIVE_RUN else f"?run={run}")


def json_result(job_id: str, ending: Ending) -> Response:
    """The stored result as it is. Raises the error with which the run ended instead."""
    raise_failure(ending, address(job_id))
    return Response(ending.body, media_type=JSON.media_type)


def raise_failure(ending: Ending, job: str) -> None:
    """Raises the error with which a run ended, if it did; `job` is where to ask for the run."""
    if ending.error is not None:
        error = from_info(ending.error)
        error.extra["job"] = job
        raise error

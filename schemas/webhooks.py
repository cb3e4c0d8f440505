"""Webhooks: what is sent, and what became of it. https://github.com/standard-webhooks/standard-webhooks (1.0.0)"""

from enum import StrEnum

from pydantic import AwareDatetime, Field, JsonValue

from schemas.base import Value
from schemas.jobs import JobId, JobView, RunName


class WebhookState(StrEnum):
    PENDING = "pending"
    """It is sent when the run ends, or again at its next time."""
    DELIVERED = "delivered"
    FAILED = "failed"
    """The receiver answered 410 Gone, or the last try failed, too."""


class WebhookAttempt(Value):
    """One try to deliver: it has a `status`, or an `error` where nobody answered."""

    at: AwareDatetime
    seconds: float = Field(ge=0, description="until the answer or the failure")
    status: int | None = Field(default=None, description="of the receiver's answer; 200 to 299 is a delivery")
    error: str | None = Field(default=None, description="why there was no answer")


class WebhookView(Value):
    """The webhook of a run as the job's owner sees it."""

    job_id: JobId
    run: RunName
    url: str = Field(description="where it is sent; the values in its query are not shown")
    state: WebhookState
    attempts: list[WebhookAttempt] = Field(description="oldest first; the last 100")
    next: AwareDatetime | None = Field(
        default=None, description="when it is tried again; null before the run has ended, and once it is settled"
    )


class WebhookData(Value):
    """What ended, and what came of it."""

    job: JobView
    result: dict[str, JsonValue] | None = Field(
        default=None, description="of a run that succeeded, where its result is small; else take it from `result_url`"
    )
    result_url: str | None = Field(default=None, description="of a run that succeeded: wants the API key")


class WebhookPayload(Value):
    """The body of a webhook. `webhook-id` among its headers is the same each time it is sent."""

    type: str = Field(description="`<event>.completed`, `.failed` or `.cancelled`, such as diarization.completed")
    timestamp: AwareDatetime = Field(description="when the run ended")
    data: WebhookData

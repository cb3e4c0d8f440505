"""The webhook of a run: what became of it, and sending it once more."""

from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi import APIRouter

from producer_api.addresses import address
from producer_api.problems import declare
from producer_api.routes.answers import JOB_ERRORS
from producer_api.routes.jobs import Run
from producer_api.service import Owner, Service, TheService
from producer_api.webhooks.admission import require_webhooks
from schemas.errors import ResultNotReady, WebhookNotFound, WebhooksDisabled
from schemas.jobs import LIVE_RUN, Job
from schemas.webhooks import WebhookState, WebhookView
from turnstream.records import Webhook

router = APIRouter(prefix="/api/v1/jobs/{job_id}/webhook", tags=["webhooks"])


@router.get("", response_model_exclude_none=True, responses=declare(*JOB_ERRORS, WebhookNotFound))
async def get_webhook(job_id: str, service: TheService, owner: Owner, run: Run = LIVE_RUN) -> WebhookView:
    """Where the end of a run is told, each try, and when the next one is."""
    job, url = await _job_with_webhook(service, job_id, owner, run)
    return _view(job, run, url, await service.threads.run(service.records.webhook, job.id, run))


@router.post(
    "/redeliver",
    status_code=202,
    response_model_exclude_none=True,
    responses=declare(*JOB_ERRORS, WebhookNotFound, WebhooksDisabled, ResultNotReady),
)
async def redeliver_webhook(job_id: str, service: TheService, owner: Owner, run: Run = LIVE_RUN) -> WebhookView:
    """Send the webhook of a run that has ended once more, whatever became of it; it is tried as often as the first time.

    `webhook-id` stays, so a receiver that has it already knows.
    """
    job, url = await _job_with_webhook(service, job_id, owner, run)
    require_webhooks(service.settings)
    if not await service.threads.run(service.records.ended, job.id, run):
        raise ResultNotReady(f"Job {job.id} has not ended: its webhook is sent then", job=address(job.id, run))
    webhook = await service.threads.run(service.records.redeliver, job, run, datetime.now(UTC))
    if service.deliverer is not None:
        service.deliverer.wake()
    return _view(job, run, url, webhook)


async def _job_with_webhook(service: Service, job_id: str, owner: str, run: str) -> tuple[Job, str]:
    job = await service.job_of_run(job_id, owner, run)
    if job.webhook_url is None:
        raise WebhookNotFound(f"Run {run} of job {job.id} has no webhook")
    return job, job.webhook_url


def _view(job: Job, run: str, url: str, webhook: Webhook | None) -> WebhookView:
    state = webhook.state if webhook else WebhookState.PENDING
    return WebhookView(
        job_id=job.id,
        run=run,
        url=_shown(url),
        state=state,
        attempts=list(webhook.attempts) if webhook else [],
        next=webhook.due if webhook and state is WebhookState.PENDING else None,
    )


def _shown(url: str) -> str:
    """Without the values of its query: whoever set WEBHOOK_URL for all may have put a secret there."""
    parts = urlsplit(url)
    hidden = urlencode([(name, "***") for name, _ in parse_qsl(parts.query, keep_blank_values=True)], safe="*")
    return parts._replace(query=hidden).geturl()

"""Stopping a run, for whoever asks over HTTP."""

from datetime import UTC, datetime

from producer_api.publishing import SOURCE
from producer_api.service import Service
from schemas.jobs import Job
from turnstream.cancelling import store_cancel, tell_cancel
from turnstream.records import QueuedWebhook


async def cancel(service: Service, job: Job, run: str) -> None:
    """Cancel a run unless it has ended. Raises StoreUnavailable."""
    if await service.threads.run(store_cancel, service.records, job.id, run):
        if job.webhook_url is not None and not (service.deliverer and service.deliverer.leading):
            # Who leads hears of it once a worker has read the job's event, which may be long after.
            now = QueuedWebhook.at(datetime.now(UTC), job.id, run)
            await service.threads.run(service.records.queue_webhook, now)
        service.results.wake(job.id, run)
        await tell_cancel(service.bus, job.id, run, SOURCE)

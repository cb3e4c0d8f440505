"""Stopping a run, for whoever asks over HTTP."""

from producer_api.publishing import SOURCE
from producer_api.service import Service
from schemas.jobs import Job
from turnstream.cancelling import store_cancel, tell_cancel


async def cancel(service: Service, job: Job, run: str) -> None:
    """Cancel a run unless it has ended. Raises StoreUnavailable."""
    if await service.threads.run(store_cancel, service.records, job.id, run):
        service.results.wake(job.id, run)
        await tell_cancel(service.bus, job.id, run, SOURCE)

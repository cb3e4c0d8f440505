"""What a webhook says."""

import json

from producer_api.addresses import result_address
from schemas.jobs import Job, JobState, JobView
from schemas.webhooks import WebhookData, WebhookPayload
from turnstream.operations import Operations
from turnstream.records import Ending, Records

RESULT_LIMIT = 16 << 10
"""Bytes of a result that goes along: Standard Webhooks wants a body below 20 kB."""
_SAYS = {JobState.SUCCEEDED: "completed", JobState.FAILED: "failed", JobState.CANCELLED: "cancelled"}


class Payloads:
    def __init__(self, records: Records, operations: Operations, public_url: str) -> None:
        self._records = records
        self._operations = operations
        self._public_url = public_url.rstrip("/")

    def of(self, job: Job, run: str) -> str | None:
        """The body for a run that has ended, the same each time; None for another. `job` is the job as this run computes it.
        Blocks.
        """
        ending = self._records.ending(job.id, run)
        ended_at = self._records.ended_at(job.id, run)
        if ending is None or ended_at is None:
            return None
        operation = self._operations.get(job.operation)
        event = operation.event if operation else job.operation  # which is not installed any more
        payload = WebhookPayload(
            type=f"{event}.{_SAYS[ending.state]}", timestamp=ended_at, data=self._data(job, run, ending)
        )
        return payload.model_dump_json(exclude_none=True)

    def _data(self, job: Job, run: str, ending: Ending) -> WebhookData:
        seen = {"run": run, "state": ending.state, "error": ending.error}
        view = JobView.model_validate(job.model_dump() | seen)
        if ending.state is not JobState.SUCCEEDED:
            return WebhookData(job=view)
        small = len(ending.body) <= RESULT_LIMIT
        return WebhookData(
            job=view,
            result=json.loads(ending.body) if small else None,
            result_url=self._public_url + result_address(job.id, run),
        )

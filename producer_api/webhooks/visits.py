"""What is done about one run's webhook when its time has come: looked at before it is sent, settled afterwards.

Whatever is interrupted, the webhook stays pending and in the queue, at or before the time when it is due.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from producer_api.webhooks.lanes import Lane, Visit
from producer_api.webhooks.payload import Payloads
from producer_api.webhooks.schedule import next_look, next_try
from producer_api.webhooks.sending import Answer
from schemas.errors import JobNotFound
from schemas.jobs import Job
from schemas.webhooks import WebhookState
from turnstream import points
from turnstream.records import QueuedWebhook, Records, Webhook
from turnstream.records.webhooks import first_due, milliseconds

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Ready:
    """A webhook that is to be sent now."""

    owner: str
    job_id: str
    run: str
    url: str
    body: str
    queued: QueuedWebhook
    webhook: Webhook

    @property
    def lane(self) -> Lane:
        """A host is all that has its authority, whatever the path."""
        return Lane(self.owner, urlsplit(self.url).netloc.lower())


class Visits:
    """Each call blocks, and may raise StoreUnavailable."""

    def __init__(self, records: Records, payloads: Payloads, clock: Clock) -> None:
        self._records = records
        self._payloads = payloads
        self._clock = clock

    def look(self, visit: Visit) -> Ready | None:
        """What is to be sent; None where nothing is, now."""
        (job_id, run), queued = visit.key, visit.queued
        try:
            job = self._records.job_of_run(job_id, run)
        except JobNotFound:
            return self._drop(queued)
        webhook = self._records.webhook(job_id, run)
        if job.webhook_url is None or (webhook is not None and webhook.state is not WebhookState.PENDING):
            return self._drop(queued)
        queued = queued or QueuedWebhook.first(job, run)
        if webhook is not None and milliseconds(webhook.due) > milliseconds(self._clock()):
            return self._move(queued, webhook.due)
        body = self._payloads.of(job, run)
        if body is None:
            return self._not_ended(job, run, queued)
        return Ready(job.owner, job_id, run, job.webhook_url, body, queued, webhook or Webhook(due=first_due(job)))

    def settle(self, ready: Ready, answer: Answer) -> WebhookState:
        """Write down what came of a try, and when the next one is."""
        webhook = self._settled(ready, answer)
        moved = QueuedWebhook.at(webhook.due, ready.job_id, ready.run)
        if webhook.state is WebhookState.PENDING:
            self._records.queue_webhook(moved)
            points.passing("webhook.moved")
        self._records.put_webhook(ready.job_id, ready.run, webhook)
        points.passing("webhook.recorded")
        for old in {ready.queued, QueuedWebhook.at(ready.webhook.due, ready.job_id, ready.run)} - {moved}:
            self._records.unqueue_webhook(old)
        points.passing("webhook.removed")
        if not self._records.has_job(ready.job_id):  # erased meanwhile: nothing of it stays
            self._records.erase(ready.job_id)
            self._records.unqueue_webhook(moved)
        return webhook.state

    def _settled(self, ready: Ready, answer: Answer) -> Webhook:
        """The webhook after this try. One that was asked for again meanwhile stays pending, whatever came of the try."""
        now, before = self._clock(), ready.webhook
        current = self._records.webhook(ready.job_id, ready.run)
        if current is not None and current.asked_for_since(before):
            return current.with_attempt(answer.attempt)
        if answer.delivered:
            return before.after(answer.attempt, WebhookState.DELIVERED, now)
        due = None if answer.gone else next_try(before.tries + 1, now, answer.retry_after)
        state = WebhookState.PENDING if due else WebhookState.FAILED
        return before.after(answer.attempt, state, due or now)

    def _not_ended(self, job: Job, run: str, queued: QueuedWebhook) -> None:
        if not self._records.has_run(job.id, run):  # it was refused after all
            self._drop(queued)
        elif queued.due <= milliseconds(self._clock()):
            self._move(queued, next_look(job.created_at, self._clock()))

    def _move(self, queued: QueuedWebhook, due: datetime) -> None:
        moved = QueuedWebhook.at(due, queued.job_id, queued.run)
        if moved != queued:
            self._records.queue_webhook(moved)
            points.passing("webhook.moved")
            self._records.unqueue_webhook(queued)

    def _drop(self, queued: QueuedWebhook | None) -> None:
        if queued is not None:
            self._records.unqueue_webhook(queued)

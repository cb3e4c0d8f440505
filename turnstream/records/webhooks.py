"""The webhooks of runs: a queue in the order of time, and for each run what became of its webhook.

The object beside the run is the truth; a queue's object only says when to look. While a webhook is pending there is one at or
before the time when it is due: whoever moves it puts the new one, then says so beside the run, then removes the old one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from pydantic import AwareDatetime

from schemas.base import Value
from schemas.jobs import Job
from schemas.webhooks import WebhookAttempt, WebhookState
from turnstream import points
from turnstream.object_store.base import ObjectNotFound, exists
from turnstream.records.endings import run_key
from turnstream.records.objects import Damaged, Objects

FIRST_LOOK = timedelta(seconds=60)
"""After the submission a webhook is looked at, should nobody have heard the end of its run."""
ATTEMPTS_KEPT = 100
_PREFIX = "webhooks/"


class Webhook(Value):
    """What became of a run's webhook: `jobs/<id>/runs/<run>/webhook.json`."""

    state: WebhookState = WebhookState.PENDING
    due: AwareDatetime
    """When it is tried next, while it is pending."""
    tries: int = 0
    """Since it was queued, or asked for again by hand."""
    attempts: tuple[WebhookAttempt, ...] = ()

    def with_attempt(self, attempt: WebhookAttempt) -> Self:
        return self.model_copy(update={"attempts": (*self.attempts, attempt)[-ATTEMPTS_KEPT:]})

    def after(self, attempt: WebhookAttempt, state: WebhookState, due: datetime) -> Self:
        return self.with_attempt(attempt).model_copy(update={"state": state, "due": due, "tries": self.tries + 1})

    def asked_for_since(self, earlier: Self) -> bool:
        """Whether it was asked for again by hand since it was `earlier`: nothing else begins with no try at another time."""
        return self.tries == 0 and self.due != earlier.due


@dataclass(frozen=True, slots=True, order=True)
class QueuedWebhook:
    """A run whose webhook is to be looked at from `due` on, in milliseconds since 1970."""

    due: int
    job_id: str
    run: str

    @classmethod
    def at(cls, due: datetime, job_id: str, run: str) -> Self:
        return cls(milliseconds(due), job_id, run)

    @classmethod
    def first(cls, job: Job, run: str) -> Self:
        """Where a run waits from its submission on; `job` is the job as this run computes it."""
        return cls.at(first_due(job), job.id, run)

    @property
    def key(self) -> str:
        return f"{_PREFIX}{self.due:013d}/{self.job_id}/{self.run}"


def milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


class Webhooks(Objects):
    def queue_first_webhook(self, job: Job, run: str) -> None:
        """For a run that is being submitted, if it has a webhook; `job` is the job as this run computes it."""
        if job.webhook_url is not None:
            self.queue_webhook(QueuedWebhook.first(job, run))
            points.passing("webhook.queued")

    def queue_webhook(self, queued: QueuedWebhook) -> None:
        self.store.put(queued.key, b"")

    def unqueue_webhook(self, queued: QueuedWebhook) -> None:
        self.store.delete(queued.key)

    def unqueue_webhooks(self, job: Job, run: str) -> None:
        """Of a run that is erased. One that waits elsewhere in the queue is removed when it is looked at."""
        if job.webhook_url is not None:
            self.unqueue_webhook(QueuedWebhook.first(job, run))
            if found := self.webhook(job.id, run):
                self.unqueue_webhook(QueuedWebhook.at(found.due, job.id, run))

    def queued_webhooks(self) -> Iterator[QueuedWebhook]:
        """All of them, the one that is due first first."""
        for info in self.store.list(_PREFIX):
            due, _, run_of_job = info.key.removeprefix(_PREFIX).partition("/")
            job_id, _, run = run_of_job.partition("/")
            if due.isdecimal() and job_id and run:  # else somebody else put it there
                yield QueuedWebhook(int(due), job_id, run)

    def webhook(self, job_id: str, run: str) -> Webhook | None:
        """What became of it; None before it was tried. One that nobody can read counts as not tried."""
        try:
            return self._get(run_key(job_id, run, "webhook"), Webhook)
        except (ObjectNotFound, Damaged):
            return None

    def redeliver(self, job: Job, run: str, now: datetime) -> Webhook:
        """Queue a webhook once more, from the first try on, whatever became of it. Not for a run that has not ended."""
        queued = QueuedWebhook.at(now, job.id, run)
        found = self.webhook(job.id, run) or Webhook(due=now)
        webhook = found.model_copy(update={"state": WebhookState.PENDING, "due": now, "tries": 0})
        self.queue_webhook(queued)
        self.put_webhook(job.id, run, webhook)
        if not exists(self.store, queued.key):  # a deliverer was quicker and saw that nothing was to be done
            self.queue_webhook(queued)
        return webhook

    def put_webhook(self, job_id: str, run: str, webhook: Webhook) -> None:
        self._put(run_key(job_id, run, "webhook"), webhook)


def first_due(job: Job) -> datetime:
    return job.created_at.astimezone(UTC) + FIRST_LOOK

"""What the API counts and measures, for Prometheus. docs/metrics.md is the table of it, and a test compares the two.

Every number has a method named after what happened. No label holds an id, a path or anything else that a caller chooses: a
route stands for all its addresses.
"""

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from producer_api.census import Census
from schemas.jobs import Job
from turnstream.exposition import Exposition

CALL_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
UPLOAD_SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800)
WEBHOOK_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20)
SWEEP_SECONDS = (0.01, 0.1, 1, 5, 10, 30, 60, 300, 1800)
"""Upper bounds of the histograms' buckets."""


class Metrics(Exposition):
    """Of one API process, in a registry of its own."""

    def __init__(self) -> None:
        super().__init__()
        registry = self.registry
        self._calls = Counter(
            "turnstream_http_requests", "Calls answered", ["method", "route", "status"], registry=registry
        )
        self._call_seconds = Histogram(
            "turnstream_http_request_seconds",
            "Time from the head of a call to the last byte of its answer",
            ["method", "route"],
            buckets=CALL_SECONDS,
            registry=registry,
        )
        self._open = Gauge("turnstream_http_requests_open", "Calls that are being answered", registry=registry)
        self._problems = Counter(
            "turnstream_problems", "Calls answered with a problem", ["route", "code"], registry=registry
        )
        self._uploaded = Counter("turnstream_upload_bytes", "Bytes of forms that arrived", registry=registry)
        self._upload_seconds = Histogram(
            "turnstream_upload_seconds",
            "Time in which a form arrived whole",
            buckets=UPLOAD_SECONDS,
            registry=registry,
        )
        self._published = Counter(
            "turnstream_jobs_published", "Runs published on gpu-jobs", ["operation", "lane", "by"], registry=registry
        )
        self._topics = Counter(
            "turnstream_topics_found", "Times gpu-jobs was found for the first time, or made anew", registry=registry
        )
        self._topic_id: str | None = None
        self._sweep(registry)
        self._webhooks(registry)

    def _sweep(self, registry: CollectorRegistry) -> None:
        self._pending = Gauge(
            "turnstream_pending_runs",
            "Published runs without an end, at the last sweep",
            ["operation", "lane"],
            registry=registry,
        )
        self._oldest = Gauge(
            "turnstream_oldest_pending_seconds",
            "Time since the oldest of them was published, at the last sweep",
            ["operation", "lane"],
            registry=registry,
        )
        self._marks = Gauge("turnstream_marks", "Marks at the last sweep", ["state"], registry=registry)
        self._swept = Counter("turnstream_swept", "Marks swept", ["action"], registry=registry)
        self._sweep_seconds = Histogram(
            "turnstream_sweep_seconds", "Time of a sweep", buckets=SWEEP_SECONDS, registry=registry
        )
        self._last_sweep = Gauge(
            "turnstream_last_sweep_timestamp_seconds",
            "When this process last swept, since 1970; 0 where it never did",
            registry=registry,
        )

    def _webhooks(self, registry: CollectorRegistry) -> None:
        self._webhook_tries = Counter(
            "turnstream_webhook_tries", "Tries to deliver a webhook", ["outcome"], registry=registry
        )
        self._webhook_seconds = Histogram(
            "turnstream_webhook_try_seconds", "Time a try took", buckets=WEBHOOK_SECONDS, registry=registry
        )
        self._webhooks_given_up = Counter(
            "turnstream_webhooks_given_up", "Webhooks that no receiver took, whatever the tries", registry=registry
        )
        self._webhooks_due = Gauge("turnstream_webhooks_due", "Webhooks whose time has come", registry=registry)
        self._webhook_age = Gauge(
            "turnstream_webhook_oldest_due_seconds", "Time since the first of them was due", registry=registry
        )

    def ask(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Ask `value` at each scrape, on the event loop's thread or another: it only looks."""
        Gauge(name, meaning, registry=self.registry).set_function(value)

    def called(self) -> None:
        self._open.inc()

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A call that was counted as open has its answer; `route` is the template of its address."""
        self._open.dec()
        self._calls.labels(method, route, status).inc()
        self._call_seconds.labels(method, route).observe(seconds)

    def refused(self, route: str, code: str) -> None:
        """A call was answered with the problem of this code."""
        self._problems.labels(route, code).inc()

    def received(self, size: int) -> None:
        """A piece of a form arrived."""
        self._uploaded.inc(size)

    def uploaded(self, seconds: float) -> None:
        """A form arrived whole."""
        self._upload_seconds.observe(seconds)

    def published(self, job: Job, by: str) -> None:
        """`by` is call or sweep."""
        self._published.labels(job.operation, job.lane, by).inc()

    def found_topics(self, topic_id: str | None) -> None:
        """To be told now and then: what counts is that it is another one."""
        if topic_id != self._topic_id:
            self._topic_id = topic_id
            self._topics.inc()

    def swept(self, actions: Mapping[str, int], seconds: float, census: Census) -> None:
        """By this process: another one counts as well as long as it sweeps."""
        self.not_sweeping()
        for action, count in actions.items():
            self._swept.labels(action).inc(count)
        self._sweep_seconds.observe(seconds)
        self._last_sweep.set_to_current_time()
        for state, count in census.states.items():
            self._marks.labels(state).set(count)
        for (operation, lane), count in census.pending.items():
            self._pending.labels(operation, lane).set(count)
            self._oldest.labels(operation, lane).set(census.oldest[operation, lane])

    def not_sweeping(self) -> None:
        """Another process counts what is pending: ours is old."""
        for gauge in (self._marks, self._pending, self._oldest):
            gauge.clear()

    def webhook_tried(self, outcome: str, seconds: float) -> None:
        """`outcome` is delivered, declined (another status), unanswered or refused (the address is inside)."""
        self._webhook_tries.labels(outcome).inc()
        self._webhook_seconds.observe(seconds)

    def webhook_given_up(self) -> None:
        self._webhooks_given_up.inc()

    def webhooks_due(self, count: int, oldest: float) -> None:
        """So many are due, the first of them since `oldest` seconds; said by the process that delivers."""
        self._webhooks_due.set(count)
        self._webhook_age.set(oldest)

"""What the API counts and measures, for Prometheus. docs/metrics.md is the table of it, and a test compares the two.

Every number has a method named after what happened. No label holds an id, a path or anything else that a caller chooses: a
route stands for all its addresses.
"""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder

disable_created_metrics()  # a second series beside each counter, which Prometheus does not read in this format

CALL_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
UPLOAD_SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800)
WEBHOOK_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20)
"""Upper bounds of the histograms' buckets."""


class Metrics:
    """Of one API process, in a registry of its own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
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
        self._uploaded = Counter("turnstream_upload_bytes", "Bytes of recordings that arrived whole", registry=registry)
        self._upload_seconds = Histogram(
            "turnstream_upload_seconds",
            "Time in which a form arrived",
            buckets=UPLOAD_SECONDS,
            registry=registry,
        )
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

    def uploaded(self, size: int, seconds: float) -> None:
        """A form arrived with a recording of `size` bytes."""
        self._uploaded.inc(size)
        self._upload_seconds.observe(seconds)

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

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All of it and its media type: Prometheus' text format, or OpenMetrics where `accept` asks for that."""
        encode, media_type = choose_encoder(accept)
        return encode(self.registry), media_type

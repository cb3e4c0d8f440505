"""What a worker counts and measures, for Prometheus. docs/metrics.md is the table of it, and a test compares the two.

Every number has a method named after what happened; what waits and what is open is asked of the worker at each scrape.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from schemas.jobs import JobState, Lane

disable_created_metrics()  # a second series beside each counter, which Prometheus does not read in this format

LOAD_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)
WAIT_SECONDS = (0.1, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 900, 3600)
"""Upper bounds of the histograms' buckets."""


@dataclass(frozen=True, slots=True)
class Queues:
    """What the worker holds at one moment."""

    waiting: Mapping[tuple[str, Lane], int] = field(default_factory=dict)
    """Jobs by operation and lane."""
    open: Mapping[str, int] = field(default_factory=dict)
    """Jobs in the engine, by operation."""
    parked: int = 0
    """Those of them whose model is not loaded now."""
    oldest: Mapping[str, float] = field(default_factory=dict)
    """Seconds that the oldest waiting job of an operation has waited."""


@dataclass(frozen=True, slots=True)
class Standstill:
    """How the worker gets on at one moment."""

    behind: int
    """Records that are not settled: here, or with the broker."""
    settled: float
    """Seconds since a record was last settled, or since the start."""
    stuck: str | None
    """Why the worker counts as stuck; None while it does not."""


class Metrics:
    """Of one worker, in a registry of its own."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._resident: set[str] = set()
        self._loads = Counter("turnstream_model_loads", "Models loaded", ["model"], registry=registry)
        self._unloads = Counter("turnstream_model_unloads", "Models unloaded", ["model", "reason"], registry=registry)
        self._load_seconds = Histogram(
            "turnstream_model_load_seconds", "Time to load a model", ["model"], buckets=LOAD_SECONDS, registry=registry
        )
        self._bytes = Gauge(
            "turnstream_model_bytes", "Memory a loaded model takes; 0 once unloaded", ["model"], registry=registry
        )
        self._swaps = Counter("turnstream_swaps", "Times the worker turned to another model", registry=registry)
        self._ended = Counter(
            "turnstream_jobs_ended", "Runs brought to their end here", ["operation", "state"], registry=registry
        )
        self._wait_seconds = Histogram(
            "turnstream_job_wait_seconds",
            "Time from the acceptance of a job until it is first opened",
            ["operation", "lane"],
            buckets=WAIT_SECONDS,
            registry=registry,
        )

    def follow(self, queues: Callable[[], Queues]) -> None:
        """Ask `queues` at each scrape what waits and what is open. To be called once."""
        self._registry.register(_Held(queues))

    def watch(self, standstill: Callable[[], Standstill]) -> None:
        """Ask at each scrape how the worker gets on. To be called once."""
        self._registry.register(_Progress(standstill))

    def loaded(self, model: str, seconds: float, size: int) -> None:
        """A model was loaded and takes `size` bytes."""
        self._loads.labels(model).inc()
        self._load_seconds.labels(model).observe(seconds)
        self._bytes.labels(model).set(size)
        self._resident.add(model)

    def unloaded(self, model: str, reason: str) -> None:
        """A model was unloaded; `reason` is one of processor.model_manager.Reason."""
        self._unloads.labels(model, reason).inc()
        self._bytes.labels(model).set(0)
        self._resident.discard(model)

    def engine_lost(self) -> None:
        """The engine process is gone, and its models with it; none of them counts as unloaded."""
        for model in self._resident:
            self._bytes.labels(model).set(0)
        self._resident.clear()

    def swapped(self) -> None:
        self._swaps.inc()

    def opened(self, operation: str, lane: Lane, waited: float) -> None:
        """A job was opened for the first time, so many seconds after it was accepted."""
        self._wait_seconds.labels(operation, lane).observe(waited)

    def ended(self, operation: str, state: JobState) -> None:
        self._ended.labels(operation, state).inc()

    def exposition(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self._registry)


class _Held(Collector):
    def __init__(self, queues: Callable[[], Queues]) -> None:
        self._queues = queues

    def collect(self) -> Iterable[GaugeMetricFamily]:
        now = self._queues()
        waiting = GaugeMetricFamily(
            "turnstream_jobs_waiting", "Jobs that wait in this worker", labels=["operation", "lane"]
        )
        for (operation, lane), count in now.waiting.items():
            waiting.add_metric([operation, lane], count)
        opened = GaugeMetricFamily("turnstream_jobs_open", "Jobs in the engine", labels=["operation"])
        for operation, count in now.open.items():
            opened.add_metric([operation], count)
        oldest = GaugeMetricFamily(
            "turnstream_oldest_wait_seconds", "Time the oldest waiting job has waited here", labels=["operation"]
        )
        for operation, seconds in now.oldest.items():
            oldest.add_metric([operation], seconds)
        parked = GaugeMetricFamily(
            "turnstream_jobs_parked", "Open jobs whose model is not loaded now", value=now.parked
        )
        return waiting, opened, parked, oldest


class _Progress(Collector):
    def __init__(self, standstill: Callable[[], Standstill]) -> None:
        self._standstill = standstill

    def collect(self) -> Iterable[GaugeMetricFamily]:
        now = self._standstill()
        return (
            GaugeMetricFamily(
                "turnstream_lag", "Records that are not settled, here or with the broker", value=now.behind
            ),
            GaugeMetricFamily(
                "turnstream_last_settled_seconds",
                "Time since a record was last settled, or the start",
                value=now.settled,
            ),
            GaugeMetricFamily(
                "turnstream_progress_stalled", "1 while nothing got on for STALL_LIMIT", value=now.stuck is not None
            ),
        )

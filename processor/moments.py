"""What is asked of the worker at each scrape: what waits and what is open, and how it gets on, at that moment."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from schemas.jobs import Lane


@dataclass(frozen=True, slots=True)
class Queues:
    """What the worker holds at one moment."""

    waiting: Mapping[tuple[str, Lane], int] = field(default_factory=dict)
    """Jobs by operation and lane."""
    open: Mapping[str, int] = field(default_factory=dict)
    """Jobs in the engine, by operation."""
    parked: int = 0
    """Those of them whose model is not loaded now."""
    oldest: Mapping[tuple[str, Lane], float] = field(default_factory=dict)
    """Seconds that the oldest waiting job has waited, by operation and lane."""
    retries: int = 0
    """Runs that wait for their next try."""


@dataclass(frozen=True, slots=True)
class Standstill:
    """How the worker gets on at one moment."""

    behind: int
    """Records that are not settled: here, or with the broker."""
    settled: float
    """Seconds since a record was last settled, or since the start."""
    stuck: str | None
    """Why the worker counts as stuck; None while it does not."""


class QueuesCollector(Collector):
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
            "turnstream_oldest_wait_seconds",
            "Time the oldest waiting job has waited here",
            labels=["operation", "lane"],
        )
        for (operation, lane), seconds in now.oldest.items():
            oldest.add_metric([operation, lane], seconds)
        parked = GaugeMetricFamily(
            "turnstream_jobs_parked", "Open jobs whose model is not loaded now", value=now.parked
        )
        retries = GaugeMetricFamily(
            "turnstream_retries_waiting", "Runs that wait here for their next try", value=now.retries
        )
        return waiting, opened, parked, oldest, retries


class StandstillCollector(Collector):
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

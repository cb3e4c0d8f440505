"""What a worker counts and measures, for Prometheus. docs/metrics.md is the table of it, and a test compares the two.

Every number has a method named after what happened; what waits and what is open is asked of the worker at each scrape.
"""

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from processor.engines.base import Worked
from processor.moments import Queues, QueuesCollector, Standstill, StandstillCollector
from schemas.jobs import JobState, Lane
from turnstream.exposition import Exposition

LOAD_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)
WAIT_SECONDS = (0.1, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 900, 3600)
STEP_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
STAGE_SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 900, 3600)
FACTORS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Upper bounds of the histograms' buckets."""


class Metrics(Exposition):
    """Of one worker, in a registry of its own."""

    def __init__(self) -> None:
        super().__init__()
        registry = self.registry
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
        self._failed = Counter(
            "turnstream_jobs_failed",
            "Runs that failed here, for good",
            ["operation", "code"],
            registry=registry,
        )
        self._retries = Counter(
            "turnstream_retries", "Runs put off until their next try", ["operation", "code"], registry=registry
        )
        self._dead_letters = Counter("turnstream_dead_letters", "Records set aside", ["code"], registry=registry)
        self._engine_work(registry)

    def _engine_work(self, registry: CollectorRegistry) -> None:
        self._openings = Counter(
            "turnstream_openings",
            "Stages of jobs handed to the engine, by whether their model was loaded",
            ["model", "warm"],
            registry=registry,
        )
        self._losses = Counter(
            "turnstream_engine_losses", "Engine processes that died or hung", ["code"], registry=registry
        )
        self._step_seconds = Histogram(
            "turnstream_step_seconds", "Time of a step of an engine", ["model"], buckets=STEP_SECONDS, registry=registry
        )
        self._pieces = Counter(
            "turnstream_pass_pieces", "Pieces that passes were filled with", ["model"], registry=registry
        )
        self._room = Counter("turnstream_pass_room", "Pieces that they had room for", ["model"], registry=registry)
        self._stage_seconds = Histogram(
            "turnstream_stage_seconds",
            "Time a job spent in a part of its computation",
            ["model", "stage"],
            buckets=STAGE_SECONDS,
            registry=registry,
        )
        self._audio = Counter(
            "turnstream_audio_seconds", "Length of the recordings computed", ["model"], registry=registry
        )
        self._factor = Histogram(
            "turnstream_real_time_factor",
            "Time from opening to the result, for a second of recording",
            ["model"],
            buckets=FACTORS,
            registry=registry,
        )
        self._device = Gauge(
            "turnstream_device_memory_bytes", "Memory of the GPU, by all who use it", ["kind"], registry=registry
        )
        self._engine_memory = Gauge(
            "turnstream_engine_resident_bytes",
            "Physical memory of the engine process; 0 while it is replaced",
            registry=registry,
        )

    def follow(self, queues: Callable[[], Queues]) -> None:
        """Ask `queues` at each scrape what waits and what is open. To be called once."""
        self.registry.register(QueuesCollector(queues))

    def weigh(self, engine: Callable[[], int]) -> None:
        """Ask at each scrape how many bytes the engine process holds."""
        self._engine_memory.set_function(engine)

    def watch(self, standstill: Callable[[], Standstill]) -> None:
        """Ask at each scrape how the worker gets on. To be called once."""
        self.registry.register(StandstillCollector(standstill))

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

    def engine_lost(self, code: str) -> None:
        """The engine process is gone, and its models with it; none of them counts as unloaded."""
        self._losses.labels(code).inc()
        for model in self._resident:
            self._bytes.labels(model).set(0)
        self._resident.clear()

    def swapped(self) -> None:
        self._swaps.inc()

    def opened(self, operation: str, lane: Lane, waited: float) -> None:
        """A job was opened for the first time, so many seconds after it was accepted."""
        self._wait_seconds.labels(operation, lane).observe(waited)

    def entered(self, model: str, *, warm: bool) -> None:
        """A stage was handed to the engine."""
        self._openings.labels(model, "yes" if warm else "no").inc()

    def worked(self, worked: Worked) -> None:
        """What the engine process did since it last said so."""
        for model, seconds in worked.steps:
            self._step_seconds.labels(model).observe(seconds)
        for model, (pieces, room) in worked.passes.items():
            self._pieces.labels(model).inc(pieces)
            self._room.labels(model).inc(room)
        if worked.device is not None:
            for kind, size in zip(("used", "total"), worked.device, strict=True):
                self._device.labels(kind).set(size)

    def computed(self, model: str, timings: Mapping[str, object], audio: float) -> None:
        """A stage came to its result. `timings` are those of the result, which is not validated yet: what is no number does not
        count. `audio`: seconds of recording, 0 where there is none.
        """
        seconds = {stage: value for stage, value in timings.items() if isinstance(value, int | float)}
        for stage in seconds.keys() - {"queue", "total"}:
            self._stage_seconds.labels(model, stage).observe(seconds[stage])
        if audio > 0:
            self._audio.labels(model).inc(audio)
            if "total" in seconds:
                self._factor.labels(model).observe(seconds["total"] / audio)

    def ended(self, operation: str, state: JobState) -> None:
        self._ended.labels(operation, state).inc()

    def failed(self, operation: str, code: str) -> None:
        self._failed.labels(operation, code).inc()

    def put_off(self, operation: str, code: str) -> None:
        """A run failed in a way that may pass, and is tried again later."""
        self._retries.labels(operation, code).inc()

    def set_aside(self, code: str) -> None:
        """A record goes to the dead letter topic."""
        self._dead_letters.labels(code).inc()

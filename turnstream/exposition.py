"""What a process counts and measures, as Prometheus reads it."""

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import choose_encoder

disable_created_metrics()  # a second series beside each counter, which Prometheus does not read in this format


class Exposition:
    """Of one process, in a registry of its own, with the memory and time of the process itself."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """All of it and its media type: Prometheus' text format, or OpenMetrics where `accept` asks for that."""
        encode, media_type = choose_encoder(accept)
        return encode(self.registry), media_type

"""Where events travel. `connect` picks the adapter that the settings name."""

from turnstream.bus.base import Bus, Position, Reach, Record
from turnstream.settings import Settings

__all__ = ["Bus", "Position", "Reach", "Record", "connect"]


def connect(settings: Settings) -> Bus:
    """The bus of this process, not yet started. Both kinds of broker speak Kafka's protocol."""
    from turnstream.bus.kafka import KafkaBus

    return KafkaBus.of(settings)

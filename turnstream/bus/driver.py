"""What librdkafka says, in our words: its errors as ours, its log lines at a bearable pace."""

import logging
from collections.abc import Generator
from contextlib import contextmanager

from confluent_kafka import KafkaError, KafkaException

from schemas.errors import BrokerUnavailable, EventInvalid, LayoutMismatch, TurnstreamError

# All that is not here means that the broker cannot be used right now.
ERRORS: dict[int, type[TurnstreamError]] = {
    KafkaError.MSG_SIZE_TOO_LARGE: EventInvalid,
    KafkaError.RECORD_LIST_TOO_LARGE: EventInvalid,
    KafkaError.INVALID_RECORD: EventInvalid,
    KafkaError.INVALID_PARTITIONS: LayoutMismatch,
    KafkaError.INVALID_REPLICATION_FACTOR: LayoutMismatch,
    KafkaError.INVALID_CONFIG: LayoutMismatch,
    KafkaError.POLICY_VIOLATION: LayoutMismatch,
    # A broker that cannot append partitions.
    KafkaError._UNSUPPORTED_FEATURE: LayoutMismatch,  # pyright: ignore[reportPrivateUsage]
}

# A cluster that just changed says these for a moment; the driver repeats its own requests, those of an administrator are ours.
UNSETTLED = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.FENCED_LEADER_EPOCH,
)


def translated(error: KafkaError, doing: str) -> TurnstreamError:
    return ERRORS.get(error.code(), BrokerUnavailable)(f"{doing}: {error.str()}")


@contextmanager
def tolerating(*codes: int) -> Generator[None, None, None]:
    """Take these errors for an answer."""
    try:
        yield
    except KafkaException as error:
        if error.args[0].code() not in codes:
            raise


class Pace(logging.Filter):
    """Lets one line of a kind through in `seconds`: while its broker is away, librdkafka writes several a second."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._next: dict[tuple[object, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        facility = record.args[0] if isinstance(record.args, tuple) and record.args else record.msg
        kind = (facility, record.levelno)
        if record.created < self._next.get(kind, 0.0):
            return False
        self._next[kind] = record.created + self._seconds
        return True


LOG = logging.getLogger("turnstream.bus.librdkafka")
LOG.addFilter(Pace(seconds=30))

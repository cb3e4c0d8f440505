"""The driver's words in ours: no error without a translation, no flood of log lines."""

import logging

import pytest
from confluent_kafka import KafkaError, KafkaException

from schemas.errors import BrokerUnavailable, EventInvalid, InfrastructureError, LayoutMismatch
from turnstream.bus.driver import LOG, Pace, tolerating, translated

CODES = {name: code for name, code in vars(KafkaError).items() if isinstance(code, int) and name.isupper()}


@pytest.mark.parametrize("name", CODES)
def test_every_error_of_the_driver_is_one_of_ours(name: str):
    error = translated(KafkaError(CODES[name], "the reason"), "publishing to gpu-jobs")
    assert isinstance(error, InfrastructureError | EventInvalid)
    assert error.detail == "publishing to gpu-jobs: the reason"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError._TRANSPORT, BrokerUnavailable),
        (KafkaError._MSG_TIMED_OUT, BrokerUnavailable),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, BrokerUnavailable),
        (KafkaError.MSG_SIZE_TOO_LARGE, EventInvalid),
        (KafkaError.INVALID_REPLICATION_FACTOR, LayoutMismatch),
    ],
)
def test_what_a_caller_should_do_differs(code: int, kind: type[Exception]):
    assert type(translated(KafkaError(code), "x")) is kind


def test_only_the_tolerated_error_is():
    with tolerating(KafkaError.TOPIC_ALREADY_EXISTS):
        raise KafkaException(KafkaError(KafkaError.TOPIC_ALREADY_EXISTS))
    with pytest.raises(KafkaException), tolerating(KafkaError.TOPIC_ALREADY_EXISTS):
        raise KafkaException(KafkaError(KafkaError.INVALID_PARTITIONS))


def line(facility: str, created: float, level: int = logging.ERROR) -> logging.LogRecord:
    record = logging.LogRecord("x", level, "", 0, "%s [%s] %s", (facility, "rdkafka#producer-1", "refused"), None)
    record.created = created
    return record


def test_lines_of_a_kind_pass_at_the_pace():
    pace = Pace(seconds=10)
    assert [pace.filter(line("FAIL", at)) for at in (100, 101, 109.9, 110, 111)] == [True, False, False, True, False]


def test_lines_of_another_kind_are_not_held_back():
    pace = Pace(seconds=10)
    assert pace.filter(line("FAIL", 100))
    assert pace.filter(line("FAIL", 100, logging.INFO))
    assert pace.filter(line("REQTMOUT", 100))


def test_lines_without_arguments_pass_too():
    assert Pace(seconds=10).filter(logging.LogRecord("x", logging.INFO, "", 0, "plain", None, None))


def test_the_drivers_logger_is_paced():
    assert any(isinstance(filter_, Pace) for filter_ in LOG.filters)

"""One answer to every failure."""

import pytest

from schemas import failures
from schemas.errors import (
    AttemptsExhausted,
    AudioError,
    EngineCrashed,
    EngineFailed,
    EngineHung,
    EngineOutOfMemory,
    ErrorInfo,
    EventError,
    InternalError,
    JobNotFound,
    RequestError,
    StoreUnavailable,
    TurnstreamError,
    WeightsUnavailable,
    error_classes,
)
from schemas.failures import BRANCHES, EXCEPTIONS, Fault
from schemas.topics import Layout, Topic
from turnstream.settings import Settings

ALL = list(error_classes())


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.code)
def test_every_class_of_the_tree_has_an_answer_that_its_code_finds(cls: type[TurnstreamError]):
    assert failures.of(cls("x").info) == failures.failure(cls)


def test_nothing_stands_in_the_tables_that_is_not_in_the_tree():
    assert set(EXCEPTIONS) <= set(ALL)
    assert set(BRANCHES) == set(TurnstreamError.__subclasses__())


@pytest.mark.parametrize("cls", [cls for cls in ALL if issubclass(cls, (RequestError, AudioError, EventError))])
def test_what_the_caller_or_the_recording_is_at_fault_for_is_never_tried_again(cls: type[TurnstreamError]):
    answer = failures.failure(cls)
    assert answer.retries == ()
    assert not answer.operators
    assert answer.fault is (Fault.AUDIO if issubclass(cls, AudioError) else Fault.CALLER)


@pytest.mark.parametrize("cls", [EngineCrashed, EngineHung, EngineOutOfMemory, AttemptsExhausted])
def test_what_takes_the_engine_down_goes_to_the_dead_letters_at_once(cls: type[TurnstreamError]):
    answer = failures.failure(cls)
    assert answer.retries == ()
    assert answer.operators


def test_tries_are_counted_off_until_none_is_left():
    answer = failures.failure(EngineFailed)
    assert [answer.tier(n) for n in range(3)] == [0, None, None]
    assert failures.failure(JobNotFound).tier(0) is None


def test_a_store_that_is_away_has_an_hour():
    delays = Settings(_env_file=None).retry_delays
    assert sum(delays[tier] for tier in failures.failure(StoreUnavailable).retries) >= 3600
    assert sum(delays[tier] for tier in failures.failure(WeightsUnavailable).retries) >= 600


@pytest.mark.parametrize("answer", {*BRANCHES.values(), *EXCEPTIONS.values()})
def test_every_tier_is_a_partition_and_has_a_delay(answer: failures.Failure):
    (partitions,) = (spec.partitions for spec in Layout().topics() if spec.name == Topic.JOBS_RETRY)
    assert partitions == len(Settings(_env_file=None).retry_delays)
    assert all(0 <= tier < partitions for tier in answer.retries)


def test_the_code_of_a_later_release_is_taken_for_an_internal_error():
    assert failures.of(ErrorInfo(code="of_tomorrow", detail="")) == failures.failure(InternalError)

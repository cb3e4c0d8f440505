"""What is done about a failure: who is at fault, and whether the run is tried again later. The only place that says so.

A branch of the tree of errors has one answer; the codes that need another have it in one table.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from schemas.errors import (
    AttemptsExhausted,
    AudioError,
    BrokerUnavailable,
    EngineFailed,
    ErrorInfo,
    EventError,
    InfrastructureError,
    InternalError,
    LocalError,
    ModelError,
    ModelLoadFailed,
    RequestError,
    StoreUnavailable,
    TurnstreamError,
    WeightsCorrupt,
    WeightsTermsNotAccepted,
    WeightsTokenRefused,
    WeightsUnavailable,
    error_classes,
)


class Fault(StrEnum):
    CALLER = "caller"
    """What was asked for cannot be done: asking again changes nothing."""
    AUDIO = "audio"
    """The recording cannot be worked on."""
    MODEL = "model"
    """Weights, engine or device."""
    INFRASTRUCTURE = "infrastructure"
    """Something the service stands on."""


SOON, LATER, LATEST = 0, 1, 2
"""The delay tiers, which are the partitions of `gpu-jobs.retry`; RETRY_DELAYS says how long each is."""


@dataclass(frozen=True, slots=True)
class Failure:
    fault: Fault
    retries: tuple[int, ...] = ()
    """The delay tier of each further try, in their order."""

    def tier(self, retries: int) -> int | None:
        """Of the next try after so many retries; None where the run ends."""
        return self.retries[retries] if retries < len(self.retries) else None

    @property
    def operators(self) -> bool:
        """Whether the end of a run by it is an operator's business: the job event is kept on the dead letter topic."""
        return self.fault in {Fault.MODEL, Fault.INFRASTRUCTURE}


BRANCHES: dict[type[TurnstreamError], Failure] = {
    RequestError: Failure(Fault.CALLER),
    EventError: Failure(Fault.CALLER),
    AudioError: Failure(Fault.AUDIO),
    # An engine that was lost has tried the job alone as often as MAX_ATTEMPTS says: a crash, a hang, too little memory.
    ModelError: Failure(Fault.MODEL),
    InfrastructureError: Failure(Fault.INFRASTRUCTURE),
    LocalError: Failure(Fault.INFRASTRUCTURE),
}

EXCEPTIONS: dict[type[TurnstreamError], Failure] = {
    EngineFailed: Failure(Fault.MODEL, (SOON,)),  # most fail again, and the caller waits to hear it
    ModelLoadFailed: Failure(Fault.MODEL, (SOON, LATER, LATEST)),
    WeightsUnavailable: Failure(Fault.MODEL, (SOON, LATER, LATEST, LATEST)),
    # Somebody has to do something about these first.
    WeightsTokenRefused: Failure(Fault.MODEL, (LATER, LATEST)),
    WeightsTermsNotAccepted: Failure(Fault.MODEL, (LATER, LATEST)),
    WeightsCorrupt: Failure(Fault.MODEL, (LATER, LATEST)),
    # More than an hour in all: long enough for somebody to be called, and to make room on a disk.
    StoreUnavailable: Failure(Fault.INFRASTRUCTURE, (SOON, LATER, *[LATEST] * 6)),
    BrokerUnavailable: Failure(Fault.INFRASTRUCTURE, (SOON, LATER, LATEST)),
    InternalError: Failure(Fault.INFRASTRUCTURE, (SOON, LATER, LATEST)),
    AttemptsExhausted: Failure(Fault.INFRASTRUCTURE),  # it took whole workers down: not once more
}


def failure(cls: type[TurnstreamError]) -> Failure:
    """The answer to a class of errors: its own, or that of its branch."""
    for ancestor in cls.__mro__:
        if ancestor in EXCEPTIONS:
            return EXCEPTIONS[ancestor]
        if ancestor in BRANCHES:
            return BRANCHES[ancestor]
    raise LookupError(f"{cls.__name__} is on no branch of the tree")


def of(error: ErrorInfo) -> Failure:
    """The answer to an error as it is stored and sent; one that a later release knows is taken for an internal one."""
    return failure(_classes().get(error.code, InternalError))


@cache
def _classes() -> dict[str, type[TurnstreamError]]:
    return {cls.code: cls for cls in error_classes()}

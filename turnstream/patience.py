"""How a call is tried again that found no service, or a service that asked for a moment."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, stop_never
from tenacity.wait import wait_exponential_jitter

from schemas.errors import TurnstreamError

T = TypeVar("T")


class Passing(Exception):
    """`error` may pass by itself. `after`: seconds that the service asks to wait for that, where it says so."""

    def __init__(self, error: TurnstreamError, after: float | None = None) -> None:
        super().__init__(error.detail)
        self.error = error
        self.after = after


def _sleep(seconds: float) -> None:
    time.sleep(seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    tries: int | None = 5
    """Of a call; None: without end."""
    first: float = 0.25
    """Seconds between the first two tries, and at most as much again; then twice as many each time."""
    longest: float = 10.0
    """Seconds between two tries, also where the service asks for more."""
    sleep: Callable[[float], None] = _sleep
    tell: Callable[[TurnstreamError], None] = lambda error: None
    """Hears why it is waited, before each wait."""

    def call(self, act: Callable[[], T], *, times: int = 1) -> T:
        """What `act` returns once it raises Passing no more, in at most `times` as many tries. Raises the last one's error."""
        retrying = Retrying(
            retry=retry_if_exception_type(Passing),
            stop=stop_never if self.tries is None else stop_after_attempt(self.tries * times),
            wait=self._seconds,
            before_sleep=lambda state: self.tell(_passing(state).error),
            sleep=self.sleep,
            retry_error_callback=_give_up,
        )
        return retrying(act)

    def _seconds(self, state: RetryCallState) -> float:
        asked = _passing(state).after
        if asked is not None:
            return min(asked, self.longest)
        return wait_exponential_jitter(multiplier=self.first, jitter=self.first, max=self.longest)(state)


def _passing(state: RetryCallState) -> Passing:
    error = state.outcome.exception() if state.outcome is not None else None
    assert isinstance(error, Passing), "only what passes is tried again"  # noqa: S101 - for the type
    return error


def _give_up(state: RetryCallState) -> NoReturn:
    passing = _passing(state)
    raise passing.error from passing.__cause__

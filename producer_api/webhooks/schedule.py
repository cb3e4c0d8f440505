"""When a webhook is tried again: soon at first, then less and less often, for about 75 hours."""

import random
from datetime import datetime, timedelta

_HOUR = 3600.0
DELAYS = (5.0, 300.0, 1800.0, 2 * _HOUR, 5 * _HOUR, 10 * _HOUR, 14 * _HOUR, 20 * _HOUR, 24 * _HOUR)
"""Seconds after each failed try: those of Standard Webhooks 1.0.0."""
JITTER = 0.1
"""Share by which a delay is longer at most, so that what failed together is not tried together again."""
LONGEST_WAIT = max(DELAYS)
"""Seconds a receiver may ask for with Retry-After."""
LOOKS = (timedelta(minutes=1), timedelta(hours=1))
"""Between two looks at a run that has not ended, at least and at most: its event is heard anyway."""


def next_try(tries: int, now: datetime, retry_after: float = 0.0) -> datetime | None:
    """After so many failed tries; None where they were all there are. The receiver asked for `retry_after` seconds."""
    if tries > len(DELAYS):
        return None
    delay = DELAYS[tries - 1] * random.uniform(1, 1 + JITTER)  # noqa: S311 - nobody gains by guessing it
    return now + timedelta(seconds=max(delay, min(retry_after, LONGEST_WAIT)))


def next_look(asked_for: datetime, now: datetime) -> datetime:
    """At a run that has not ended: after as long as it has waited already."""
    least, most = LOOKS
    return now + min(max(now - asked_for, least), most)

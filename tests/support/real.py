"""Apache Kafka and MinIO as plain processes: fetched once into the user's cache, run for the length of one command.

    python -m tests.support.real -- pytest -m real

The command finds them by the variables that the contract suites read. Both end with this process, however it ends.
"""

import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import httpx
import psutil
from platformdirs import user_cache_dir

from tests.support.stores import REAL_MINIO
from tests.support.waiting import until
from turnstream.lifeline import Lifeline
from turnstream.ports import free_port
from turnstream.weights.cache import built

REAL_KAFKA = "TURNSTREAM_TEST_KAFKA"
"""The variable that names a real broker: `host:port`."""
REASON = (
    "needs Apache Kafka and MinIO: `make test-real` starts them where a JDK (17 or newer), Maven and Go are installed"
)
"""Why a test of the real servers is skipped."""
HOST = "127.0.0.1"
CACHE = Path(user_cache_dir("turnstream")) / "test-servers"
BUILD_LIMIT, START_LIMIT, STOP_LIMIT = 1200.0, 60.0, 10.0
"""Seconds."""


class Server(ABC):
    """A program that is built once in `home`, shared by all, and run in a folder of its own. A context manager."""

    name: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        """`folder`: for data and log; made if absent."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self._lifeline = Lifeline()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """Of the program, and of its process group."""
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def home(self) -> Path:
        """Another one for each content, so that an old one never has to be brought up to date."""
        return CACHE / f"{self.name}-{hashlib.sha256(self._content().encode()).hexdigest()[:12]}"

    @abstractmethod
    def _content(self) -> str:
        """All that decides what is built."""

    @abstractmethod
    def _build(self, home: Path) -> None:
        """Put into an empty directory, which moves afterwards, what `_command` wants."""

    @abstractmethod
    def _command(self) -> tuple[list[str], dict[str, str]]:
        """The command line, which is run in `home`, and what to add to its environment."""

    @abstractmethod
    def _answers(self) -> bool: ...

    def fetch(self) -> None:
        if self.home.exists():
            return
        began = time.monotonic()
        print(f"{self.name}: fetched into {self.home}, once; this takes up to five minutes ...", flush=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        with built(self.home) as home:
            self._build(home)
        print(f"{self.name}: fetched in {time.monotonic() - began:.0f} s", flush=True)

    def start(self) -> None:
        self.fetch()
        command, extra = self._command()
        self._run(command, extra, self.home)

    def _run(self, command: Sequence[str], extra: Mapping[str, str], home: Path) -> None:
        log = self.folder / "log"
        guard = [sys.executable, "-P", "-m", "turnstream.lifeline"]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*guard, *command],
                cwd=home,
                env={**os.environ, **extra, **self._lifeline.env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=self._lifeline.fds,
            )
        until(lambda: self._process.poll() is not None or self._answers(), START_LIMIT)
        if self._process.poll() is not None:
            raise RuntimeError(f"{self.name} did not start:\n{log.read_text(errors='replace')[-3000:]}")

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for what is left of it."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                pass
            finally:
                self.kill()

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)  # the guard beside it, too
            self._process.wait(STOP_LIMIT)
            self._process = None

    def hang(self) -> None:
        os.killpg(self.pid, signal.SIGSTOP)
        until(lambda: psutil.Process(self.pid).status() == psutil.STATUS_STOPPED, STOP_LIMIT)

    def go_on(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._lifeline.close()


class Kafka(Server):
    """One node of Apache Kafka (KRaft). Its classes come from an archive, its formatted directory is a copy: up in a second."""

    name = "kafka"
    POM = Path(__file__).with_name("kafka-pom.xml")
    COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
    CLUSTER = "dHVybnN0cmVhbS10ZXN0cw"  # 16 bytes in base64, as Kafka wants them
    JAVA: ClassVar = [
        *("java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"),
        *("-Xshare:auto", "-Dlog4j2.configurationFile=log4j2.properties"),
    ]
    LOGGING = """\
rootLogger.level=WARN
rootLogger.appenderRef.out.ref=out
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c{1}: %m%n
"""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._controller_port = free_port()

    def forget(self) -> None:
        """While it is down: all it has kept is gone."""
        shutil.rmtree(self.folder / "data")

    def _content(self) -> str:
        return self.POM.read_text() + self.COPY + self.LOGGING + java_version()  # the archive is good for one Java only

    def _build(self, home: Path) -> None:
        maven = ["mvn", "-q", "-B", "-ntp", "--strict-checksums", "-f", str(self.POM), self.COPY]
        _build([*maven, "-DincludeScope=runtime", f"-DoutputDirectory={home / 'libs'}"], cwd=self.folder)
        (home / "log4j2.properties").write_text(self.LOGGING)
        config = self._configured(home / "formatted")
        java = [*self.JAVA, *self._class_path(home)]
        _build([*java, "kafka.tools.StorageTool", "format", "-t", self.CLUSTER, "-c", str(config)], cwd=home)
        with tempfile.TemporaryDirectory() as scratch:
            config = self._configured(shutil.copytree(home / "formatted", Path(scratch) / "data"))
            self._run([*java, "-XX:ArchiveClassesAtExit=classes.jsa", "kafka.Kafka", str(config)], {}, home)
            self.stop()

    def _command(self) -> tuple[list[str], dict[str, str]]:
        data = self.folder / "data"
        if not data.exists():
            shutil.copytree(self.home / "formatted", data)
        options = [*self._class_path(self.home), "-XX:SharedArchiveFile=classes.jsa"]
        return [*self.JAVA, *options, "kafka.Kafka", str(self._configured(data))], {}

    def _class_path(self, home: Path) -> list[str]:
        # In a fixed order and relative, for the archive holds for one class path only.
        return ["-cp", ":".join(sorted(f"libs/{jar.name}" for jar in (home / "libs").glob("*.jar")))]

    def _configured(self, data: Path) -> Path:
        controller = f"{HOST}:{self._controller_port}"
        config = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{controller}",
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": data,
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 1,
            "group.initial.rebalance.delay.ms": 0,
            # A killed broker's own old registration has to expire before it may come back.
            "broker.session.timeout.ms": 1500,
            "broker.heartbeat.interval.ms": 300,
        }
        file = self.folder / "server.properties"
        file.write_text("".join(f"{name}={value}\n" for name, value in config.items()))
        return file

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self.port)) == 0


class Minio(Server):
    name = "minio"
    MODULE = "github.com/minio/minio@v0.0.0-20250907161309-07c3a429bfed"
    KEYS = ("turnstream-test", "turnstream-secret")

    @property
    def environment(self) -> dict[str, str]:
        """Settings of Turnstream for a stack on it."""
        return {"MINIO_ENDPOINT": self.address, "MINIO_ACCESS_KEY": self.KEYS[0], "MINIO_SECRET_KEY": self.KEYS[1]}

    def _content(self) -> str:
        return self.MODULE

    def _build(self, home: Path) -> None:
        _build(["go", "install", self.MODULE], cwd=self.folder, GOBIN=str(home))

    def _command(self) -> tuple[list[str], dict[str, str]]:
        command = ["./minio", "server", str(self.folder / "data"), "--address", self.address, "--quiet"]
        user, password = self.KEYS
        return command, {"MINIO_ROOT_USER": user, "MINIO_ROOT_PASSWORD": password, "MINIO_BROWSER": "off"}

    def _answers(self) -> bool:
        try:
            return httpx.get(f"http://{self.address}/minio/health/ready", timeout=2).status_code == 200
        except httpx.TransportError:
            return False


def java_version() -> str:
    """What `java` says of itself; nothing where there is none."""
    if shutil.which("java") is None:
        return ""
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False, timeout=30)
    return said.stderr if said.returncode == 0 else ""


def missing_tools() -> list[str]:
    version = re.search(r'version "(\d+)', java_version())
    java = [] if version and int(version[1]) >= 17 else ["a JDK (17 or newer)"]
    return java + [name for name, tool in (("Maven", "mvn"), ("Go", "go")) if shutil.which(tool) is None]


def _build(command: Sequence[str], cwd: Path, **env: str) -> None:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=BUILD_LIMIT,
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}")


def main(command: Sequence[str]) -> int:
    if missing := missing_tools():
        print(f"skipped: {REASON}; missing here: {', '.join(missing)}", flush=True)
        return subprocess.call(command)  # it skips by the same reason
    with tempfile.TemporaryDirectory(prefix="turnstream-real-") as name:
        folder, began = Path(name), time.monotonic()
        with Kafka(folder / "kafka") as kafka, Minio(folder / "minio") as minio:
            print(f"Apache Kafka and MinIO are up after {time.monotonic() - began:.1f} s", flush=True)
            named = {REAL_KAFKA: kafka.address, REAL_MINIO: ",".join((minio.address, *minio.KEYS))}
            return subprocess.call(command, env=os.environ | named)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.exit(main(arguments[1:] if arguments[:1] == ["--"] else arguments))

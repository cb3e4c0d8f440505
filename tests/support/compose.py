"""docker-compose.yml without Docker: each service started by its own command line and environment, as a process in a box.

    python -m tests.support.compose -- pytest tests/e2e/test_production.py

The command, the services and their ports are alone in a network of their own, in which each service has its name. Apache Kafka
and MinIO are those of `tests.support.real`. Every `running_stack` of the command is then this stack (`tests.support.stack`).
"""

import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Self

from tests.support import compose_images as images
from tests.support.box import own, why_not
from tests.support.compose_file import INIT, Service, env_file, services
from tests.support.real import HOST, Kafka, Minio, missing_tools
from tests.support.stack import COMPOSE
from turnstream.lifeline import Lifeline

REASON = (
    "needs what `make test-real` needs, and root on Linux: `make test-compose` starts the production stack in boxes"
)
HEALTHY_LIMIT, END_LIMIT = 120.0, 120.0
"""Seconds a service has to become healthy, and one that ends to end."""
HEALTH_TIMEOUT = 10.0
EXEC_LIMIT = 120.0
"""Seconds a command has that is typed into a container."""
AGAIN = 0.5
"""Seconds until a service that died is started again; doubled each time, up to so many."""
LONGEST = 10.0


class Running:
    """A service with one container's life: started again when it dies, if its policy says so."""

    def __init__(self, service: Service, folder: Path, lifeline: Lifeline) -> None:
        self.service = service
        self.folder = folder / service.name
        self.folder.mkdir()
        self.log = self.folder / "log"
        self._image = images.of(service)
        self._lifeline = lifeline
        self._mounts = [(str(self._volume(folder, name)), target) for name, target in service.mounts]
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0
        self._stopping = threading.Event()
        self._keeper = threading.Thread()

    def _volume(self, folder: Path, name: str | None) -> Path:
        """An engine makes it of the folder in the image, and thus its user's."""
        path = folder / "volumes" / (name or f"{self.service.name}-data")
        if not path.exists():
            path.mkdir(parents=True)
            self._image.fill(path, name)
            own([path, *path.rglob("*")], self._image.user)
        return path

    @property
    def data(self) -> Path:
        """The folder that belongs to this container."""
        return Path(next(here for here, target in self._mounts if target == "/var/lib/turnstream"))

    @property
    def pid(self) -> int | None:
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Also after `stop` and `kill`."""
        self._stopping.clear()
        self._keeper = threading.Thread(target=self._keep, name=f"keep {self.service.name}", daemon=True)
        self._keeper.start()

    def ended(self, within: float) -> int:
        """The exit code of a service that ends by itself."""
        self._keeper.join(within)
        assert self._process is not None and self._process.returncode is not None, f"{self.service.name} did not end"
        return self._process.returncode

    def healthy(self) -> bool:
        """What the health check of the file says, run in a box like the service's."""
        health = self.service.health
        assert health is not None, f"{self.service.name} has no health check"
        if self.pid is None:
            return False
        try:
            return self.exec(health, within=HEALTH_TIMEOUT).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def exec(
        self, command: Sequence[str], handed: Mapping[str, str] | None = None, *, within: float = EXEC_LIMIT
    ) -> subprocess.CompletedProcess[str]:
        """As `docker compose exec`: a command in a box like the service's. `handed`: variables beside the service's own."""
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            box = self._box(Path(scratch) / "box")
            box = replace(box, command=[*command], environment=box.environment | (handed or {}))
            return subprocess.run(box.argv(), capture_output=True, text=True, check=False, timeout=within)

    def stop(self) -> bool:
        """SIGTERM, and SIGKILL after the time that the file grants it. Whether the time was enough."""
        self._stopping.set()
        if self._process is not None and self.pid is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(self.service.grace)
        in_time = self.pid is None
        self.kill()
        return in_time

    def kill(self) -> None:
        """It stays down until `start`, as after `docker compose kill`; what dies otherwise is started again."""
        self._stopping.set()
        if self.pid is not None:
            os.killpg(self.pid, signal.SIGKILL)
        if self._keeper.ident:
            self._keeper.join()

    def _keep(self) -> None:
        delay = AGAIN
        while not self._stopping.is_set():
            self._spawn().wait()
            if not self.service.restarts:
                return
            self._stopping.wait(delay)
            delay = min(delay * 2, LONGEST)

    def _spawn(self) -> subprocess.Popen[bytes]:
        self._starts += 1
        box = self._box(self.folder / f"box-{self._starts}")
        guard = [sys.executable, "-P", "-m", "turnstream.lifeline"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*guard, *box.argv()],
                env=os.environ | self._lifeline.env,
                cwd=images.ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=self._lifeline.fds,
            )
        return self._process

    def _box(self, folder: Path) -> "images.Box":
        return self._image.box(self.service, folder, self._mounts)


class Composed:
    """The whole file, up and healthy. `env` goes into the .env that deploy/init.sh writes. A context manager."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.folder = folder
        written = folder / ".env"
        subprocess.run(["sh", str(INIT), str(written)], check=True, capture_output=True, timeout=30)
        with written.open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in env.items())
        self.env = env_file(written)
        self._lifeline = Lifeline()
        self.running: dict[str, Running] = {}

    def __enter__(self) -> Self:
        try:
            for service in services(self.env):
                self._start(service)
            for running in self.running.values():
                if running.service.restarts:
                    self._wait_healthy(running)
        except BaseException:
            print(self.logs[-20_000:])
            self.__exit__()
            raise
        return self

    def run(self, name: str, service: str, command: Sequence[str], handed: Mapping[str, str]) -> Running:
        """As `docker compose run --detach`: a container more, with a volume of its own, which is not started again."""
        like = self.running[service].service
        environment = like.written["environment"] | handed
        written = {**like.written, "command": [*command], "environment": environment, "restart": "no"}
        self.running[name] = Running(replace(like, name=name, written=written), self.folder, self._lifeline)
        self.running[name].start()
        return self.running[name]

    def stop(self) -> None:
        for running in reversed(self.running.values()):
            running.stop()

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._lifeline.close()

    @property
    def logs(self) -> str:
        each = (running.log for running in self.running.values() if running.log.exists())
        return "\n".join(f"--- {log.parent.name}\n{log.read_text(errors='replace')}" for log in each)

    def _start(self, service: Service) -> None:
        for name, condition in service.waits_for.items():
            if condition == "service_healthy":
                self._wait_healthy(self.running[name])
            else:
                code = self.running[name].ended(END_LIMIT)
                assert code == 0, f"{name} ended with {code}"
        self.running[service.name] = Running(service, self.folder, self._lifeline)
        self.running[service.name].start()

    def _wait_healthy(self, running: Running) -> None:
        deadline = time.monotonic() + HEALTHY_LIMIT
        while not running.healthy():
            assert time.monotonic() < deadline, f"{running.service.name} did not become healthy"
            time.sleep(0.2)


def main(command: Sequence[str]) -> int:
    """The command's exit code; 0 where it cannot be run, for then there is nothing to be said about the tests."""
    if why := why_not() or ", ".join(missing_tools()):
        print(f"skipped: {REASON}; missing here: {why}", flush=True)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        for server in (Kafka(Path(scratch) / "kafka"), Minio(Path(scratch) / "minio")):
            server.fetch()
    alone = ["unshare", "--net", "--mount", "--propagation", "private", "--"]
    return subprocess.call([*alone, sys.executable, "-m", "tests.support.compose", "--inside", *command])


def inside(command: Sequence[str]) -> int:
    """In a new network: it has nothing but a loopback that is down."""
    with socket.socket() as probe:  # as `ip link set lo up`; 0x8914 is SIOCSIFFLAGS, 0x41 up and running
        fcntl.ioctl(probe, 0x8914, struct.pack("16sh14x", b"lo", 0x41))
    with tempfile.NamedTemporaryFile("w", suffix=".hosts") as hosts:
        names = " ".join(["localhost", socket.gethostname(), *images.NAMES])
        hosts.write(f"{HOST} {names}\n")
        hosts.flush()
        Path(hosts.name).chmod(0o644)
        subprocess.run(["mount", "--bind", hosts.name, "/etc/hosts"], check=True, timeout=30)
        return subprocess.call(command, env=os.environ | {COMPOSE: hosts.name})


if __name__ == "__main__":
    assert shutil.which("unshare") or sys.platform != "linux"
    arguments = sys.argv[1:]
    if arguments[:1] == ["--inside"]:
        sys.exit(inside(arguments[1:]))
    sys.exit(main(arguments[1:] if arguments[:1] == ["--"] else arguments))

"""The stacks that faults strike: `turnstream up` as a user starts it, and under it what the harness runs itself."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from getpass import getuser
from pathlib import Path

import psutil

from tests.chaos.schedule import Ground, Victim, points
from tests.support.real import Kafka, Minio, Server
from tests.support.stack import CLEAN, Stack, alive, running_stack
from tests.support.stores import minio_store
from turnstream import points as named
from turnstream.lifeline import Lifeline
from turnstream.object_store.base import ObjectStore
from turnstream.object_store.filesystem import FilesystemStore
from turnstream.patience import Patience
from turnstream.run_dir import read_state
from turnstream.settings import Settings

SESSION = {"embedded": 6.0, "local": 30.0}
"""Seconds, of the workers' group."""
SETTINGS = {
    "SWEEP_INTERVAL": "2",
    "ACCEPTING_LIMIT": "30",
    "STORE_TIMEOUT": "10",
    "PUBLISH_TIMEOUT": "10",
    "MAX_ATTEMPTS": "4",
    "RETRY_DELAYS": "0.5,1,2",
    "MAX_WAIT": "3",
    "LINGER": "0.2",
    "WORKERS": "2",
    "PARTITION_GROUPS": "2",
}
STEP_LIMIT = {"scripted": "10", "pyannote": "60"}
STOP_LIMIT = 15.0
LIBRARIES = frozenset({f"torchinductor_{getuser()}", ".ses"})
"""What libraries of the real model keep in TMPDIR: one folder or file, however often they start."""


class Field:
    """A running stack with its processes by name: broker, store, api, worker-1, engine-1, and so on."""

    def __init__(
        self, kind: str, folder: Path, stack: Stack, env: dict[str, str], servers: dict[Victim, Server]
    ) -> None:
        self.kind, self.folder, self.stack, self.servers = kind, folder, stack, servers
        self.points = folder / "points"
        self.computed_log = folder / "computed.log"
        self.env = env
        self._lifeline = Lifeline()
        self.joined: dict[str, subprocess.Popen[bytes]] = {}
        """Workers that the harness started."""

    @property
    def settings(self) -> Settings:
        """As the stack has them."""
        fields = {name.lower(): value for name, value in self.env.items() if name.lower() in Settings.model_fields}
        own = {"data_dir": self.stack.data_dir, "kafka_bootstrap_servers": self.stack.bootstrap}
        return Settings(_env_file=None, **(fields | own))

    @property
    def ground(self) -> Ground:
        victims = tuple(victim for victim in Victim if victim is not Victim.STORE or victim in self.servers)
        return Ground(
            victims=victims,
            points=points(transactional=self.settings.transactional),
            session=SESSION[self.kind],
            joining=self.kind == "local",
        )

    def store(self) -> ObjectStore:
        """A new connection to it."""
        if self.kind == "embedded":
            return FilesystemStore(self.stack.data_dir / "objects")
        bucket = self.settings.minio_bucket
        return minio_store(self.settings.minio_endpoint, Minio.KEYS, bucket=bucket, timeout=10)

    def processes(self, victim: Victim) -> dict[str, int]:
        """Process ids by name, of those that run."""
        if victim in self.servers:
            server = self.servers[victim]
            return {victim.value: server.pid} if server.running else {}
        found = {name: pid for name, pid in self.stack.pids.items() if name.partition("-")[0] == victim}
        return {name: pid for name, pid in sorted(found.items()) if _lives(pid)}

    def all_processes(self) -> dict[str, int]:
        named = {name: pid for victim in Victim for name, pid in self.processes(victim).items()}
        return {"supervisor": self.stack.pid} | named

    # One more worker

    def join(self) -> str:
        name = f"extra-{len(self.joined) + 1}"
        env = os.environ | self.env | self._lifeline.env
        env |= {
            "WORKER_NAME": name,
            "DATA_DIR": str(self.stack.data_dir),
            "KAFKA_BOOTSTRAP_SERVERS": self.stack.bootstrap,
            "PYTHONUNBUFFERED": "1",
        }
        command = [sys.executable, "-P", "-m", "processor"]
        with (self.folder / "extra.log").open("ab") as log:
            self.joined[name] = subprocess.Popen(
                command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=self._lifeline.fds
            )
        return name

    def leave(self, name: str) -> None:
        """In order."""
        worker = self.joined[name]
        worker.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            worker.wait(STOP_LIMIT)
        worker.kill()
        worker.wait()

    def close(self) -> None:
        for worker in self.joined.values():
            worker.kill()
            worker.wait()
        self._lifeline.close()

    # What must not be left

    def strangers(self) -> list[str]:
        """Processes of this stack that belong to nobody in it any more."""
        family = {process.pid for process in self.stack.processes()} if psutil.pid_exists(self.stack.pid) else set()
        return [_described(process) for process in self._ours() if process.pid not in family]

    def _ours(self) -> list[psutil.Process]:
        mark = str(self.points)
        return [process for process in psutil.process_iter() if _environ(process).get(named.ENV) == mark]

    def spools(self) -> list[str]:
        """What lies where uploads and waveforms are spooled."""
        places = (self.stack.data_dir / "spool", self.folder / "tmp")
        found = [path.relative_to(self.folder) for place in places if place.exists() for path in place.rglob("*")]
        return [str(path) for path in found if not LIBRARIES.intersection(path.parts)]


@contextmanager
def standing(kind: str, folder: Path, engine: str, **env: str) -> Iterator[Field]:
    """`kind`: embedded or local; `engine`: scripted or pyannote."""
    points, scratch = folder / "points", folder / "tmp"
    points.mkdir()
    scratch.mkdir()
    env = SETTINGS | {"ENGINE": engine, "ENGINE_STEP_LIMIT": STEP_LIMIT[engine], "TMPDIR": str(scratch)} | env
    env |= {named.ENV: str(points), "SCRIPTED_LOG": str(folder / "computed.log")}
    with ExitStack() as opened:
        servers: dict[Victim, Server] = {}
        if kind == "local":
            kafka, minio = opened.enter_context(Kafka(folder / "kafka")), opened.enter_context(Minio(folder / "minio"))
            servers = {Victim.BROKER: kafka, Victim.STORE: minio}
            env |= minio.environment
            env |= {"BROKER": "kafka", "KAFKA_BOOTSTRAP_SERVERS": kafka.address, "OBJECT_STORE": "minio"}
        field = opened.enter_context(_running(kind, folder, env, servers))
        yield field


@contextmanager
def _running(kind: str, folder: Path, env: dict[str, str], servers: dict[Victim, Server]) -> Iterator[Field]:
    with running_stack(folder, **env) as stack:
        field = Field(kind, folder, stack, CLEAN | env, servers)
        try:
            yield field
        finally:
            field.close()


def _lives(pid: int) -> bool:
    try:
        return bool(alive([psutil.Process(pid)]))
    except psutil.NoSuchProcess:
        return False


def _environ(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


def _described(process: psutil.Process) -> str:
    try:
        return f"{process.pid} ({process.status()}): {' '.join(process.cmdline())[:120]}"
    except psutil.Error:
        return f"{process.pid} (gone since)"


def ready(field: Field) -> bool:
    """Whether API and workers say so."""
    with field.stack.client(patience=Patience(tries=1), timeout=3.0) as client:
        if not client.ready():
            return False
    names = [name for name in field.stack.pids if name.startswith("worker")]
    states = (read_state(field.stack.data_dir, name) for name in names)
    return bool(names) and all(state.get("state") == "ready" and _lives(state.get("pid", 0)) for state in states)

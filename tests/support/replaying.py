"""A stack with a past, and `turnstream replay` as a process that may be killed and started again."""

import io
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from schemas.jobs import LIVE_RUN, AudioInfo, Job
from tests.support.api import result
from tests.support.past import AUDIO, id_at
from tests.support.servers import Kafka, Minio
from tests.support.stack import CLEAN, Stack, running_stack
from turnstream.object_store import connect
from turnstream.records import Records
from turnstream.settings import Settings


@dataclass
class Ground:
    """What a stack stands on, and the settings that say so."""

    folder: Path
    env: dict[str, str]
    kafka: Kafka | None = None
    stores: list[Any] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        named = {name.lower(): value for name, value in (CLEAN | self.env).items()}
        return Settings(_env_file=None, data_dir=self.folder / "data", **named)

    def records(self) -> Records:
        store = connect(self.settings)
        self.stores.append(store)
        return Records(store)

    @contextmanager
    def stack(self) -> Iterator[Stack]:
        with running_stack(self.folder, **self.env) as stack:
            yield stack

    def computed(self) -> Counter[tuple[str, str]]:
        """How often each (job, run) was computed to its end."""
        log = Path(self.env["SCRIPTED_LOG"])
        lines = log.read_text().splitlines() if log.exists() else []
        return Counter((job, run) for job, run, *_ in map(str.split, lines))

    def began(self) -> dict[tuple[str, str], float]:
        """When each (job, run) was begun, in seconds since 1970; the first time counts."""
        log, found = Path(self.env["SCRIPTED_LOG"]), dict[tuple[str, str], float]()
        for job, run, _, began, *_ in map(str.split, log.read_text().splitlines() if log.exists() else []):
            found[job, run] = min(float(began), found.get((job, run), float(began)))
        return found

    def command(self, *arguments: str) -> tuple[list[str], dict[str, str]]:
        """`turnstream` with these arguments, and its environment."""
        env = os.environ | CLEAN | self.env | {"DATA_DIR": str(self.folder / "data"), "COLUMNS": "200"}
        return [sys.executable, "-P", "-m", "turnstream", *arguments], env

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command, env = self.command(*arguments)
        return subprocess.run(
            command, env=env, cwd=self.folder, capture_output=True, text=True, timeout=600, check=False
        )

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        command, env = self.command(*arguments)
        with (self.folder / "command.log").open("ab") as log:
            return subprocess.Popen(command, env=env, cwd=self.folder, stdout=log, stderr=log)

    def status(self, name: str) -> dict[str, Any]:
        """What `turnstream replay status` says."""
        done = self.run("replay", "status", name, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@contextmanager
def ground(kind: str, folder: Path, **env: str) -> Iterator[Ground]:
    """`embedded`, or `local`: Apache Kafka and MinIO of its own."""
    folder.mkdir(exist_ok=True)
    ours = {"ENGINE": "scripted", "SCRIPTED_LOG": str(folder / "computed.log"), **env}
    with ExitStack() as opened:
        if kind == "embedded":
            standing = Ground(folder, ours)
        else:
            kafka = opened.enter_context(Kafka(folder / "kafka"))
            minio = opened.enter_context(Minio(folder / "minio"))
            real = {
                "BROKER": "kafka",
                "KAFKA_BOOTSTRAP_SERVERS": kafka.address,
                "OBJECT_STORE": "minio",
                "MINIO_ENDPOINT": minio.address,
                "MINIO_ACCESS_KEY": minio.KEYS[0],
                "MINIO_SECRET_KEY": minio.KEYS[1],
                "MINIO_BUCKET": "turnstream-replay",
            }
            standing = Ground(folder, ours | real, kafka)
        try:
            yield standing
        finally:
            for store in standing.stores:
                store.close()


def make_past(
    records: Records, names: Sequence[str], *, hours_ago: float = 1, params: Mapping[str, Any] | None = None
) -> list[str]:
    """A job for each name of a recording, accepted so long ago and done; their ids. None of them is on any topic."""
    random = Random(7)  # noqa: S311 - not for secrets
    at = datetime.now(UTC) - timedelta(hours=hours_ago)

    def made(number: int, name: str) -> Job:
        accepted = at + timedelta(milliseconds=number)
        audio = AudioInfo(filename=name, size=len(AUDIO), sha256="0" * 64)
        id_ = id_at(accepted, random)
        return Job(id=id_, params=dict(params or {}), owner="anonymous", created_at=accepted, audio=audio)

    def keep(job: Job) -> None:
        records.create(job, io.BytesIO(AUDIO))
        records.put_result(job.id, LIVE_RUN, result(job.id))
        records.remove_mark(job.id, LIVE_RUN)

    jobs = [made(number, name) for number, name in enumerate(names)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(keep, jobs))
    return [job.id for job in jobs]

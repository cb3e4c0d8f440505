"""What the images of docker-compose.yml bring: here, folders of this machine that are bound to where the image has them."""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.support.box import Box
from tests.support.compose_file import ROOT, Service, tree
from tests.support.dockerfile import stage
from tests.support.real import Kafka, Minio
from turnstream.weights.cache import cache_dir

__all__ = ["NAMES", "ROOT", "Box", "Image", "of"]

NAMES = tuple(tree()["services"])
SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Image:
    command: Sequence[str]
    user: int
    environment: dict[str, str]
    workdir: str
    binds: tuple[tuple[str, str], ...]
    tmpfs: tuple[str, ...] = ()
    """Folders of the image that it writes to; they are its own in each container."""
    through: tuple[str, ...] = ()
    weights: Path | None = None
    """A cache that is there already: so that no test downloads."""

    def fill(self, volume: Path, name: str | None) -> None:
        if name == "weights" and self.weights and self.weights.exists():
            for part in ("open-pack", "whisper", "hub"):
                if (self.weights / part).exists():
                    shutil.copytree(self.weights / part, volume / part, symlinks=True)

    def box(self, service: Service, folder: Path, mounts: Sequence[tuple[str, str]]) -> Box:
        if "user" in service.written:
            raise NotImplementedError("a service's own user")
        return Box(
            folder=str(folder),
            command=list(service.command or self.command),
            environment=self.environment | service.environment,
            user=self.user,
            read_only=service.written.get("read_only", False),
            workdir=self.workdir,
            tmpfs=[*self.tmpfs, *service.tmpfs],
            binds=[*self.binds, ("/etc/hosts", "/etc/hosts"), *mounts],
            through=list(self.through),
        )


def of(service: Service) -> Image:
    if service.target:
        return _ours(service.target)
    return _kafka() if service.name == "kafka" else _minio()


@cache
def _ours(target: str) -> Image:
    """The virtual environment of the tests where the image has its own, and the project beside it. User, environment and
    folder are those of the Dockerfile.
    """
    from turnstream.settings import Settings

    built = stage(target)
    source = "/opt/source"
    return Image(
        command=built.command,
        user=int(built.user.partition(":")[0]),
        environment=built.environment | {"PYTHONPATH": source},
        workdir=built.workdir,
        binds=((sys.prefix, "/opt/venv"), (str(ROOT), source)),
        through=(sys.base_prefix,),
        weights=cache_dir(Settings(_env_file=None)),
    )


@cache
def _minio() -> Image:
    with tempfile.TemporaryDirectory() as scratch:
        program = Minio(Path(scratch)).home / "minio"
    return Image(
        command=["minio"],
        user=0,
        environment={"PATH": SYSTEM, "HOME": "/root"},
        workdir="/",
        binds=((str(program), "/usr/bin/minio"),),
    )


KAFKA_RUN = """\
#!/bin/bash
# What the image's own script does: settings from the environment by the image's own program, the disk formatted once, the broker.
set -e
cd /opt/kafka
java() { command java -XX:TieredStopAtLevel=1 -Dlog4j2.configurationFile=log4j2.properties -cp "libs/*" "$@"; }
java kafka.docker.KafkaDockerWrapper setup --default-configs-dir /etc/kafka/docker \\
    --mounted-configs-dir /mnt/shared/config --final-configs-dir /opt/kafka/config >/tmp/setup 2>&1 ||
    grep -i "already formatted" /tmp/setup || { cat /tmp/setup; exit 1; }
exec java $KAFKA_HEAP_OPTS -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dlog4j2.configurationFile=log4j2.properties \\
    -cp "libs/*" kafka.Kafka /opt/kafka/config/server.properties
"""


@cache
def _kafka() -> Image:
    scratch = Path(tempfile.mkdtemp(prefix="turnstream-kafka-image-"))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    home = Kafka(scratch / "unused").home
    script = scratch / "run"
    script.write_text(KAFKA_RUN)
    script.chmod(0o755)
    (scratch / "docker").mkdir()
    for name in ("server.properties", "log4j2.yaml", "tools-log4j2.yaml"):
        (scratch / "docker" / name).touch()
    scratch.chmod(0o755)
    java = {name: value for name, value in os.environ.items() if name == "JAVA_HOME"}
    return Image(
        command=["/etc/kafka/docker/run"],
        user=1000,
        environment={"PATH": SYSTEM, "HOME": "/home/appuser"} | java,
        workdir="/",
        binds=(
            (str(home / "libs"), "/opt/kafka/libs"),
            (str(home / "log4j2.properties"), "/opt/kafka/log4j2.properties"),
            (str(scratch / "docker"), "/etc/kafka/docker"),
            (str(script), "/etc/kafka/docker/run"),
        ),
        tmpfs=("/opt/kafka/config", "/mnt/shared/config"),
    )

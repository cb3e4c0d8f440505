"""What of the containers can be said without Docker: what they are told, what a command is told of them, and the skip."""

import re
import sys
from pathlib import Path

import pytest
from docker.errors import DockerException

from tests.support import containers, real
from tests.support.servers import CONTAINERS
from tests.support.stores import REAL_MINIO

NOTHING = Path()


class Absent:
    def ping(self) -> None:
        raise DockerException("nobody listens")


def test_without_docker_that_is_said_once_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(containers.docker, "from_env", lambda timeout: Absent())
    mark = tmp_path / "ran"
    assert containers.main([sys.executable, "-c", f"open({str(mark)!r}, 'w')"]) == 0
    assert capfd.readouterr().out == f"skipped: {containers.REASON}; no daemon answers here: nobody listens\n"
    assert not mark.exists()


def test_a_command_is_told_of_containers_as_of_processes():
    kafka, minio = containers.Kafka(NOTHING), containers.Minio(NOTHING)
    assert containers.variables(kafka, minio) == {
        real.REAL_KAFKA: f"127.0.0.1:{kafka.port}",
        REAL_MINIO: f"127.0.0.1:{minio.port},turnstream-test,turnstream-secret",
        CONTAINERS: "1",
    }
    assert kafka.port != minio.port


def test_the_broker_in_a_container_is_set_up_like_the_process(tmp_path: Path):
    process = real.Kafka(tmp_path)
    lines = process._configured(tmp_path / "data").read_text().splitlines()
    wanted = dict(line.split("=", 1) for line in lines)
    told = containers.Kafka(NOTHING).environment_inside()
    places = {"listeners", "advertised.listeners", "controller.quorum.voters", "log.dirs"}
    assert {
        f"KAFKA_{name.upper().replace('.', '_')}": value for name, value in wanted.items() if name not in places
    } == {name: value for name, value in told.items() if not re.search("LISTENERS$|VOTERS$", name)}


def test_what_may_be_killed_is_alike():
    for process, container in ((real.Kafka, containers.Kafka), (real.Minio, containers.Minio)):
        shared = {"address", "start", "stop", "kill", "hang", "go_on", "__enter__", "__exit__"}
        assert shared <= set(dir(process)) & set(dir(container))
    assert containers.Minio.KEYS == real.Minio.KEYS
    assert hasattr(containers.Kafka, "forget")
    assert hasattr(real.Kafka, "forget")


def test_images_are_pinned():
    assert containers.Kafka.IMAGE == "apache/kafka:4.3.1"
    assert re.fullmatch(r"quay\.io/minio/minio:RELEASE\.\S+Z@sha256:[0-9a-f]{64}", containers.Minio.IMAGE)
    pom = Path(real.__file__).with_name("kafka-pom.xml").read_text()
    assert containers.Kafka.IMAGE.partition(":")[2] in pom

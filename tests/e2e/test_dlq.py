"""A job that kills its engine ends on the dead letter topic, and `turnstream dlq` asks for it again: on each stack."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from schemas.jobs import JobState
from tests.support import recordings
from tests.support.real import REAL_KAFKA, REASON, Kafka, Minio
from tests.support.stack import CLEAN, Stack, running_stack
from tests.support.stores import REAL_MINIO

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
REAL = [pytest.mark.real, pytest.mark.skipif(not {REAL_KAFKA, REAL_MINIO} <= os.environ.keys(), reason=REASON)]


@dataclass
class Place:
    """A stack, and the environment in which an operator types commands about it."""

    stack: Stack
    env: Mapping[str, str]

    def dlq(self, *arguments: str) -> list[str]:
        """The lines of a command that does its work."""
        command = [sys.executable, "-P", "-m", "turnstream", "dlq", *arguments]
        env = os.environ | CLEAN | self.env | {"DATA_DIR": str(self.stack.data_dir)}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()


@pytest.fixture(params=["embedded", pytest.param("real", marks=REAL)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    env = {"ENGINE": "scripted", "MAX_ATTEMPTS": "2"}
    with ExitStack() as servers:
        if request.param == "real":
            kafka = servers.enter_context(Kafka(tmp_path / "kafka"))
            minio = servers.enter_context(Minio(tmp_path / "minio"))
            env |= {"BROKER": "kafka", "KAFKA_BOOTSTRAP_SERVERS": kafka.address}
            env |= {"OBJECT_STORE": "minio", "MINIO_ENDPOINT": minio.address, "MINIO_BUCKET": "turnstream-dlq"}
            env |= {"MINIO_ACCESS_KEY": minio.KEYS[0], "MINIO_SECRET_KEY": minio.KEYS[1]}
        with running_stack(tmp_path, **env) as stack:
            yield Place(stack, env)


def test_a_job_that_kills_its_engine_is_listed_and_asked_for_again(place: Place, tmp_path: Path):
    recording = recordings.wav(recordings.tone(1), recordings.SAMPLE_RATE, tmp_path / "crash.wav")
    with place.stack.client() as client:
        job = client.submit(recording).id
        *_, last = client.wait(job, timeout=90)
        assert last.state is JobState.FAILED

        [letter] = map(json.loads, place.dlq("list", "--json"))
        offset = letter["offset"]
        assert (letter["error"], letter["job"], letter["run"]) == ("engine_crashed", job, "live")
        shown = "\n".join(place.dlq("show", str(offset)))
        assert json.loads(shown[shown.index("\n{") :])["job_id"] == job

        [said] = place.dlq("requeue", "--error", "engine_crashed")
        assert said == f"{offset}: job {job}: asked for again as run dlq-{offset}"
        *_, last = client.wait(job, run=f"dlq-{offset}", timeout=90)
        assert last.state is JobState.FAILED
        [said] = place.dlq("requeue", str(offset))
        assert said == f"{offset}: job {job}: already asked for again as run dlq-{offset}: failed"
    runs = [json.loads(line)["run"] for line in place.dlq("list", "--json")]
    assert runs == ["live", f"dlq-{offset}"]

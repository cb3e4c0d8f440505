"""The production stack of docker-compose.yml, each service by its own command line in a box: `make test-compose`."""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from confluent_kafka.admin import AdminClient

from schemas.jobs import JobState
from schemas.topics import Topic
from tests.support import operators, recordings
from tests.support.compose import REASON
from tests.support.compose_stack import ComposeStack
from tests.support.stack import COMPOSE, running_stack
from tests.support.waiting import until
from turnstream.client import Client
from turnstream.object_store import connect
from turnstream.settings import Settings

pytestmark = [
    pytest.mark.real,
    pytest.mark.stack,
    pytest.mark.timeout(300),
    pytest.mark.skipif(COMPOSE not in os.environ, reason=REASON),
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeStack]:
    with running_stack(tmp_path_factory.mktemp("stack"), ENGINE="scripted") as stack:
        assert isinstance(stack, ComposeStack)
        yield stack


def talk(folder: Path) -> Path:
    return recordings.wav(recordings.tone(1), recordings.SAMPLE_RATE, folder / "talk.wav")


def test_a_job_ends_with_a_result_and_with_an_event_for_a_consumer_on_this_host(stack: ComposeStack, tmp_path: Path):
    with stack.client() as client:
        job = client.submit(talk(tmp_path)).id
        assert [*client.wait(job, timeout=60)][-1].state is JobState.SUCCEEDED
        assert client.result(job).segments
    until(lambda: stack.event_ids()[f"{job}/live"] == 1, 30)


def test_nobody_comes_in_without_the_key(stack: ComposeStack):
    assert httpx.get(f"{stack.url}/api/v1/jobs").status_code == 401
    assert httpx.get(f"{stack.url}/readyz").status_code == 200


def test_the_topics_are_those_that_the_service_of_that_name_made(stack: ComposeStack):
    topics = AdminClient({"bootstrap.servers": stack.bootstrap}).list_topics(timeout=10).topics
    assert len(topics[Topic.JOBS].partitions) == 4 * 13
    assert "52 partitions" in stack.composed.running["topics"].log.read_text()


def test_an_upload_goes_to_the_public_address_of_the_store(stack: ComposeStack):
    inside = stack.composed.running["api"].service.environment
    settings = Settings(_env_file=None, **{name.lower(): value for name, value in inside.items()})
    store = connect(settings)
    address = store.presign_put("uploads/a", expires=60)
    assert address is not None
    assert address.startswith("http://127.0.0.1:9000/turnstream/uploads/a?")
    assert httpx.put(address, content=b"body").status_code == 200
    assert store.get("uploads/a") == b"body"
    store.delete("uploads/a")
    store.close()


@pytest.mark.parametrize("name", ["api", "worker", "minio"])
def test_a_service_may_write_where_the_file_says_and_has_no_rights(stack: ComposeStack, name: str):
    running = stack.composed.running[name]
    tries = "for at in / /usr /opt/venv /etc /tmp {}; do touch $at/try 2>/dev/null && echo $at && rm $at/try; done"
    places = " ".join(target for _, target in running.service.mounts)
    asked = f"{tries.format(places)}; grep -E '^(CapEff|CapBnd|NoNewPrivs|Uid)' /proc/self/status"
    said = running.exec(["sh", "-c", asked]).stdout.split("\n")
    writable = [line for line in said if line.startswith("/")]
    status = dict(line.split(":", 1) for line in said if ":" in line)
    assert set(status["CapEff"].strip() + status["CapBnd"].strip()) == {"0"}
    assert status["NoNewPrivs"].strip() == "1"
    user = "0" if name == "minio" else "10001"
    assert status["Uid"].split() == [user] * 4
    assert writable == ["/tmp", *places.split()]  # noqa: S108


def test_what_operators_type_into_containers(stack: ComposeStack, tmp_path: Path):
    """The commands of docs/production.md, in its order."""
    said: dict[str, str] = {}
    with stack.client() as client:
        job = client.submit(talk(tmp_path)).id
        assert [*client.wait(job, timeout=60)][-1].state is JobState.SUCCEEDED
        for typed in operators.typed("tests/e2e/test_production.py"):
            handed = typed.environment(stack.composed)
            if typed.verb == "run":  # all boxes share one network, so that its port is taken
                stack.composed.run(typed.name, typed.service, typed.command, {"METRICS_PORT": "0"} | handed)
                until(lambda: succeeded(client, job, "v2"), 60)
                continue
            done = stack.composed.running[typed.service].exec(typed.command, handed)
            assert done.returncode == 0, f"{typed.line}: {done.stderr}{done.stdout}"
            said[typed.line.partition("turnstream ")[2]] = done.stdout
            until(lambda: succeeded(client, job, "fast"), 60)
    assert "asked for" in said["replay --from 7d --run fast --param mode=fast"]
    assert "had ended" in said["replay cancel fast"]
    assert "fast compared with live" in said["compare --replay fast"]


def succeeded(client: Client, job: str, run: str) -> bool:
    return any(view.run == run and view.state is JobState.SUCCEEDED for view in client.runs(job))


def test_what_dies_is_started_again(stack: ComposeStack, tmp_path: Path):
    api = stack.composed.running["api"]
    pid = api.pid
    assert pid is not None
    os.kill(pid, 9)
    until(lambda: api.pid not in (None, pid) and api.healthy(), 60)
    with stack.client() as client:
        job = client.submit(talk(tmp_path)).id
        assert [*client.wait(job, timeout=60)][-1].state is JobState.SUCCEEDED


def test_each_service_stops_within_the_time_it_is_granted(stack: ComposeStack):
    """The last test: nothing runs afterwards."""
    assert {name: running.stop() for name, running in reversed(stack.composed.running.items())} == dict.fromkeys(
        stack.composed.running, True
    )

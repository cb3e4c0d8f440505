"""docs/subscribe.md: its programs print how each run ended, once, whatever comes twice and whatever was added meanwhile."""

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import Message
from jsonschema import Draft202012Validator

from schemas.events import Event
from schemas.jobs import JobState
from schemas.published import published
from schemas.topics import Topic
from tests.support import real, recordings
from tests.support.published import Stored, as_cloudevent
from tests.support.reader import assert_like
from tests.support.real import REAL_KAFKA, REASON
from tests.support.servers import Kafka, Minio
from tests.support.stack import Stack, running_stack
from tests.support.stores import REAL_MINIO
from tests.support.subscribing import PAGE, Subscriber, publish, until_read
from tests.support.topics import records
from tests.support.waiting import until
from turnstream.client import Client

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

KEY = "correct-horse"
RESULTS = (Topic.DIARIZATION_RESULTS, Topic.TRANSCRIPTION_RESULTS)
EVENTS = {event.name: event for event in published()}
ON_REAL_SERVERS = [
    pytest.mark.real,
    pytest.mark.skipif(not {REAL_KAFKA, REAL_MINIO} <= os.environ.keys(), reason=REASON),
]


@dataclass(frozen=True)
class Ground:
    stack: Stack
    libs: Path | None
    """Where kafka-clients and what it stands on lie; None where no Java runs."""

    def client(self) -> Client:
        return self.stack.client(key=KEY)

    @property
    def files(self) -> list[str]:
        return ["subscriber.py", "agent.py", *(["Subscriber.java"] if self.libs else [])]


@pytest.fixture(scope="module", params=["embedded", pytest.param("real", marks=ON_REAL_SERVERS)])
def ground(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("subscribe")
    with ExitStack() as opened:
        env, libs = {"API_KEY": KEY, "ENGINE": "scripted", "RETRY_DELAYS": "0.1,0.1,0.1"}, None
        if request.param == "real":
            kafka, minio = opened.enter_context(Kafka(folder / "kafka")), opened.enter_context(Minio(folder / "minio"))
            env |= minio.environment | {"BROKER": "kafka", "KAFKA_BOOTSTRAP_SERVERS": kafka.address}
            env |= {"OBJECT_STORE": "minio"}
            every = real.Kafka(folder / "jars").home / "libs"
            libs = clients(every, folder / "libs") if every.exists() else None  # under containers there may be none
        yield Ground(opened.enter_context(running_stack(folder, **env)), libs)


def clients(every: Path, wanted: Path) -> Path:
    """Of Kafka's jars those that the page's pom.xml names, of the versions it names, and what these stand on."""
    [pom] = [block.text for block in PAGE.blocks if block.marks.get("file") == "pom.xml"]
    named = re.findall(r"<artifactId>(.+)</artifactId>\s*<version>(.+)</version>\s*</dependency>", pom)
    assert len(named) == 2
    wanted.mkdir()
    stand_on = ["jackson-core-*", "jackson-annotations-*", "slf4j-api-*", "lz4-*", "snappy-*", "zstd-*"]
    for pattern in [*("-".join(each) for each in named), *stand_on]:
        [jar] = every.glob(f"{pattern}.jar")
        shutil.copy(jar, wanted)
    return wanted


def submit(client: Client, folder: Path, name: str, **options: str) -> str:
    return client.submit(recordings.wav(recordings.tone(1), recordings.SAMPLE_RATE, folder / name), **options).id


def some_jobs(client: Client, folder: Path) -> list[str]:
    operations = ("diarize", "transcribe", "transcript")
    jobs = [submit(client, folder, f"talk-{number}.wav", operation=operations[number % 3]) for number in range(12)]
    jobs += [submit(client, folder, "error.wav", operation=operation) for operation in operations]
    jobs += [submit(client, folder, "turns-6000.wav", operation=operation) for operation in operations[:2]]
    return jobs


def ended(client: Client, job: str, run: str = "live") -> str:
    """What a subscriber is to print of it."""
    *_, view = client.wait(job, run=run, timeout=100)
    if view.error or view.state is JobState.CANCELLED:
        return f"{job} {run} {view.error.code if view.error else 'job_cancelled'}"
    operation = {"diarize": "diarization", "transcribe": "transcription"}.get(view.operation, view.operation)
    model = EVENTS[f"turnstream.{operation}.completed.v1"].data.model_fields["result"].annotation
    [result] = [each for each in model.__args__ if each is not type(None)]
    return f"{job} {run} {len(client.result(job, result, run=run).segments)} segments"


def headers_of(message: Message) -> dict[str, bytes]:
    return dict(message.headers())


def test_each_program_prints_each_run_once(ground: Ground, tmp_path: Path):
    stack = ground.stack
    env = {"KAFKA_BOOTSTRAP_SERVERS": stack.bootstrap, "TURNSTREAM_URL": stack.url, "API_KEY": KEY}
    with ground.client() as client, ExitStack() as opened:
        jobs = some_jobs(client, tmp_path)  # some of it lies there before anybody subscribes
        subscribers = [
            opened.enter_context(Subscriber(file, tmp_path / file.partition(".")[0], env, ground.libs))
            for file in ground.files
        ]
        jobs += some_jobs(client, tmp_path)
        slow = submit(client, tmp_path, "sleep-60.wav")
        until(lambda: client.job(slow).state is JobState.RUNNING, 60)
        client.cancel(slow)
        expected = Counter(ended(client, job) for job in [*jobs, slow])
        rerun = client.rerun(jobs[0], {"num_speakers": 3}, run="three")
        expected += Counter([ended(client, rerun.id, "three")])
        until_read(stack.bootstrap, subscribers, RESULTS)
        for subscriber in subscribers:
            assert subscriber.lines == expected, subscriber.group
        for subscriber in subscribers[:2]:
            subscriber.stop()
        while_away = submit(client, tmp_path, "turns-7000.wav", operation="transcript")
        expected += Counter([ended(client, while_away)])
        for subscriber in subscribers[:2]:
            subscriber.start()
        expected += what_a_later_release_adds(stack)
        until_read(stack.bootstrap, subscribers, RESULTS)
        for subscriber in subscribers:
            assert subscriber.lines == expected, subscriber.group


def what_a_later_release_adds(stack: Stack) -> Counter[str]:
    """Everything comes once more as it was; and once more under another run's name, with more fields and headers; and there are
    events of types that nobody knows yet.
    """
    told: Counter[str] = Counter()
    for message in records(stack.bootstrap, RESULTS):
        headers, value = headers_of(message), message.value()
        publish(stack.bootstrap, message, headers, value)
        publish(stack.bootstrap, message, headers | {"ce_type": b"turnstream.diarization.reviewed.v1"}, b"{}")
        publish(stack.bootstrap, message, headers | {"ce_type": b"turnstream.diarization.completed.v2"}, b"[]")
        data = json.loads(value)
        if "result" in data and data["run"] == "live":
            text = {name: content.decode() for name, content in headers.items()}
            grown = Stored(message.topic(), message.key().decode(), text, json.dumps(data | {"run": "grown"})).grown()
            headers = dict(grown.raw_headers) | {"ce_id": f"{data['job_id']}/grown".encode()}
            publish(stack.bootstrap, message, headers, grown.value.encode())
            told[f"{data['job_id']} grown {len(data['result']['segments'])} segments"] += 1
    assert told
    return told


def test_every_event_on_the_broker_is_what_is_published(ground: Ground, tmp_path: Path):
    with ground.client() as client:
        jobs = some_jobs(client, tmp_path)
        slow = submit(client, tmp_path, "sleep-60.wav")
        until(lambda: client.job(slow).progress is not None, 60)
        client.cancel(slow)
        mine = {*jobs, slow}
        assert {ended(client, job).split()[0] for job in mine} == mine

    def told() -> list[Message]:
        return [each for each in records(ground.stack.bootstrap, Topic) if (each.key() or b"").decode() in mine]

    kinds = set()
    until(lambda: len([each for each in told() if each.topic() in RESULTS]) == len(mine), 60)
    for message in told():
        event = as_cloudevent(message.headers(), message.key(), message.value())
        ours = Event.parse(message.headers(), message.value())
        assert (event.get_id(), event.get_type(), event.get_time()) == (ours.id, ours.type, ours.time)
        assert (event.get_subject(), event.get_specversion()) == (message.key().decode(), "1.0")
        assert event.get_datacontenttype() == "application/json"
        known = EVENTS[event.get_type()]
        assert message.topic() in {known.topic} | (
            {Topic.JOBS_RETRY, Topic.JOBS_DLQ} if known.topic == Topic.JOBS else set()
        )
        Draft202012Validator(known.schema).validate(event.get_data())
        kinds.add(event.get_type())
    assert kinds == EVENTS.keys()


def test_an_event_looks_as_the_page_shows_it(ground: Ground, tmp_path: Path):
    with ground.client() as client:
        job = submit(client, tmp_path, "talk.wav")
        ended(client, job)
    [shown] = [json.loads(block.text) for block in PAGE.blocks if block.language == "json"]
    until(lambda: event_of(ground.stack, job), 60)
    assert_like(shown, json.loads(event_of(ground.stack, job).value()), "docs/subscribe.md")


def event_of(stack: Stack, job: str) -> Message | None:
    found = [each for each in records(stack.bootstrap, RESULTS) if each.key() == job.encode()]
    return found[0] if found else None

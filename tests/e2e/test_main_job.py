"""The main job on the embedded stack with the real model: every way in, every way out, the same turns as stock pyannote."""

import json
import subprocess
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from schemas.events import Event
from schemas.operations import DIARIZE
from schemas.results import DiarizationCompleted, DiarizationResult
from schemas.topics import Topic
from tests.support import recordings
from tests.support.stack import Stack, running_stack
from tests.support.waiting import until

pytestmark = [pytest.mark.model, pytest.mark.stack, pytest.mark.timeout(600)]

KEY = "correct-horse"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack"), API_KEY=KEY) as stack:
        yield stack


@pytest.fixture
def api(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, headers={"x-api-key": KEY}, timeout=300) as client:
        yield client


def wait_for_end(api: httpx.Client, address: str, seconds: float = 120) -> dict:
    return until(lambda: (job := api.get(address).json())["state"] not in {"queued", "running"} and job, seconds)


def test_the_seed_systems_curl_call_works_as_it_stands(stack: Stack):
    command = ["curl", "-sS", "-X", "POST", f"{stack.url}/api/v1/diarize/file", "-H", f"x-api-key: {KEY}"]
    form = ["-F", f"audio=@{recordings.sample_wav()}", "-F", "min_speakers=1", "-F", "max_speakers=5"]
    done = subprocess.run([*command, *form], capture_output=True, text=True, timeout=120, check=True)
    body = json.loads(done.stdout)
    assert body["num_speakers"] == 2
    assert body["segments"][0].keys() >= {"speaker", "start", "end"}
    assert 0 < body["performance"] < 120


def test_the_turns_are_those_of_stock_pyannote_and_der_is_that_of_the_model(api: httpx.Client, stock_pipeline):
    from pyannote.core import Annotation, Segment, Timeline
    from pyannote.database.util import load_rttm
    from pyannote.metrics.diarization import DiarizationErrorRate

    with recordings.sample_wav().open("rb") as audio:
        body = api.post("/api/v1/diarize/file", files={"audio": audio}).raise_for_status().json()
    output = stock_pipeline(recordings.sample_waveform())
    for ours, theirs in (
        (body["segments"], output.speaker_diarization),
        (body["exclusive_segments"], output.exclusive_speaker_diarization),
    ):
        expected = [(turn.start, turn.end, speaker) for turn, _, speaker in theirs.itertracks(yield_label=True)]
        assert [(turn["start"], turn["end"], turn["speaker"]) for turn in ours] == [
            (pytest.approx(start, abs=1e-6), pytest.approx(end, abs=1e-6), speaker) for start, end, speaker in expected
        ]

    reference = next(iter(load_rttm(recordings.sample_rttm()).values()))
    hypothesis = Annotation()
    for number, turn in enumerate(body["segments"]):
        hypothesis[Segment(turn["start"], turn["end"]), number] = turn["speaker"]
    der = DiarizationErrorRate()(reference, hypothesis, uem=Timeline([Segment(0, 30)]))
    assert der == pytest.approx(0.052, abs=0.001)


@pytest.mark.parametrize("kind", ["wav", "mp3", "m4a", "flac", "ogg", "webm", "webm-streamed", "mp4", "mp4-video"])
def test_each_container_gives_a_result(api: httpx.Client, tmp_path: Path, kind: str):
    path = recordings.sample_as(kind, tmp_path)
    answer = api.post("/api/v1/diarize/file", files={"audio": (path.name, path.read_bytes())})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["num_speakers"] == 2
    assert body["audio"]["duration"] == pytest.approx(30, abs=0.2)


def test_a_polled_job_and_a_bare_consumer_agree(api: httpx.Client, stack: Stack):
    with recordings.sample_wav().open("rb") as audio:
        answer = api.post("/api/v1/jobs", files={"file": audio}, data={"operation": "diarize", "num_speakers": "2"})
    assert answer.status_code == 202
    job = wait_for_end(api, answer.headers["location"])
    assert job["state"] == "succeeded"
    polled = DiarizationResult.model_validate(api.get(f"{answer.headers['location']}/result").raise_for_status().json())

    consumer = Consumer(
        {"bootstrap.servers": stack.bootstrap, "group.id": uuid.uuid4().hex, "enable.auto.commit": False}
    )
    topic = consumer.list_topics(Topic.DIARIZATION_RESULTS, timeout=10).topics[Topic.DIARIZATION_RESULTS]
    consumer.assign([TopicPartition(topic.topic, number, OFFSET_BEGINNING) for number in topic.partitions])

    def read() -> Event | None:
        message = consumer.poll(1)
        if message is None or message.error() or message.key().decode() != job["id"]:
            return None
        return Event.parse(message.headers(), message.value())

    event = until(read, 30)
    consumer.close()
    assert event.id == f"{job['id']}/live"
    assert event.read(DIARIZE.completed, DiarizationCompleted).result == polled

    rttm = api.get(f"{answer.headers['location']}/result", params={"format": "rttm"}).raise_for_status().text
    assert len(rttm.splitlines()) == len(polled.segments)


@pytest.mark.parametrize(
    ("make", "status", "code"),
    [
        (recordings.empty_file, 422, "audio_empty"),
        (recordings.text_named_wav, 422, "audio_unreadable"),
        (recordings.zero_length_audio, 422, "audio_empty"),
        (recordings.video_without_sound, 422, "audio_stream_missing"),
        (recordings.ffconcat, 415, "audio_format_refused"),
        (recordings.m3u8, 415, "audio_format_refused"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_bad_recordings_are_refused_with_their_code(api: httpx.Client, tmp_path: Path, make, status: int, code: str):
    path = make(tmp_path)
    answer = api.post("/api/v1/diarize/file", files={"audio": (path.name, path.read_bytes())})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "make",
    [
        recordings.blip,
        recordings.quiet,
        recordings.many_channels,
        partial(recordings.at_rate, rate=8_000),
        partial(recordings.at_rate, rate=192_000),
        recordings.truncated_mp3,
    ],
    ids=["blip", "quiet", "30 channels", "8 kHz", "192 kHz", "truncated"],
)
def test_odd_recordings_have_a_result(api: httpx.Client, tmp_path: Path, make):
    path = make(tmp_path)
    answer = api.post("/api/v1/diarize/file", files={"audio": (path.name, path.read_bytes())})
    assert answer.status_code == 200, answer.text
    assert "NaN" not in answer.text


def test_cancel_ends_a_running_job_within_a_second(api: httpx.Client, stack: Stack, tmp_path: Path):
    def seconds_for_the_sample() -> float:
        with recordings.sample_wav().open("rb") as audio:
            return api.post("/api/v1/diarize/file", files={"audio": audio}).raise_for_status().json()["performance"]

    alone = seconds_for_the_sample()
    path = recordings.sample_repeated(20, tmp_path)
    with path.open("rb") as audio:
        address = api.post("/api/v1/jobs", files={"audio": audio}).raise_for_status().headers["location"]
    until(lambda: api.get(address).json()["state"] == "running", 60)
    assert api.post(f"{address}/cancel").raise_for_status().json()["state"] == "cancelled"
    mark = stack.data_dir / "objects" / "pending" / address.rsplit("/", 1)[1]
    until(lambda: not mark.exists(), 1)  # the worker has told its end
    # And the engine is free: the long recording, which is older, would go first and take twenty times as long.
    assert seconds_for_the_sample() < 3 * alone
    assert api.get(f"{address}/result").json()["code"] == "job_cancelled"

"""Submissions, good and bad. Whatever is refused leaves nothing: no object, no spool, no event."""

import asyncio
import hashlib
import os
import time

import pytest

from producer_api.probing import Prober
from schemas.events import JOB_REQUESTED, Event
from schemas.jobs import JobRequested
from schemas.topics import Topic
from tests.support import recordings
from tests.support.api import KEY, complete, is_problem, multipart, until
from turnstream.bus.memory import MemoryBus
from turnstream.object_store.memory import MemoryStore
from turnstream.records import MarkState

DEFAULTS = {"channels": "mix", "embeddings": False, "min_duration_on": 0.0}
"""What a job of diarization says although its caller does not."""


async def test_a_job_is_stored_published_and_answered(api, blip):
    response = await api.submit(blip, min_speakers="1", max_speakers="5", lane="batch")

    assert response.status_code == 202
    view = response.json()
    assert response.headers["location"] == f"/api/v1/jobs/{view['id']}"
    assert (view["state"], view["operation"], view["lane"]) == ("queued", "diarize", "batch")
    assert view["params"] == DEFAULTS | {"min_speakers": 1, "max_speakers": 5}
    assert view["audio"]["filename"] == "blip.wav"
    assert view["audio"]["sha256"] == hashlib.sha256(blip.read_bytes()).hexdigest()
    assert view["audio"]["duration"] == pytest.approx(0.1)

    [record] = api.bus.records(Topic.JOBS)
    event = Event.parse(record.headers, record.value)
    requested = event.read(JOB_REQUESTED, JobRequested)
    job = api.records.job(view["id"])
    assert (event.id, event.subject) == (f"{job.id}/live", job.id)
    assert (requested.job_id, requested.params, requested.audio) == (job.id, job.params, job.audio)
    layout = api.records.layout()
    assert layout is not None
    assert record.position.partition == layout.partition(job.id, job.operation, job.lane)
    assert api.store.get(f"jobs/{job.id}/audio") == blip.read_bytes()

    mark = api.records.mark(job.id, "live")
    assert mark is not None
    assert (mark.state, mark.offset) == (MarkState.QUEUED, record.position.offset)
    assert mark.topic_id == await api.bus.topic_id(Topic.JOBS)
    assert api.spools() == []


async def test_the_recording_may_be_called_file_and_empty_values_are_absent(api, blip):
    data = {"num_speakers": "", "operation": "", "mode": " "}
    response = await api.client.post("/api/v1/jobs", files={"file": ("a.wav", blip.read_bytes())}, data=data)
    assert response.status_code == 202
    assert response.json()["params"] == DEFAULTS


async def test_a_trace_goes_on_in_the_event(api, blip):
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    await api.client.post("/api/v1/jobs", files={"audio": ("a.wav", blip.read_bytes())}, headers={"traceparent": trace})
    [record] = api.bus.records(Topic.JOBS)
    assert dict(record.headers)["traceparent"] == trace.encode()


async def test_a_path_in_the_filename_is_dropped(api, blip):
    body, headers = multipart(("audio", "../../etc/a\tb.wav", blip.read_bytes()))
    response = await api.client.post("/api/v1/jobs", content=body, headers=headers)
    assert response.json()["audio"]["filename"] == "ab.wav"


# Bad input: recordings


@pytest.mark.parametrize(
    "make, status, code",
    [
        (recordings.empty_file, 422, "audio_empty"),
        (recordings.text_named_wav, 422, "audio_unreadable"),
        (recordings.video_without_sound, 422, "audio_stream_missing"),
        (recordings.zero_length_audio, 422, "audio_empty"),
        (recordings.picture, 415, "audio_format_refused"),
        (recordings.ffconcat, 415, "audio_format_refused"),
        (recordings.m3u8, 415, "audio_format_refused"),
        (recordings.sdp, 415, "audio_format_refused"),
        (recordings.mpd, 415, "audio_format_refused"),
    ],
)
async def test_a_bad_recording_is_refused(api, tmp_path, make, status, code):
    is_problem(await api.submit(make(tmp_path)), status, code)
    api.assert_nothing_stays()


@pytest.mark.parametrize(
    "make",
    [
        recordings.truncated_mp3,
        recordings.blip,
        recordings.quiet,
        recordings.many_channels,
        lambda directory: recordings.at_rate(directory, 8_000),
        lambda directory: recordings.at_rate(directory, 192_000),
    ],
)
async def test_an_odd_recording_is_taken(api, tmp_path, make):
    assert (await api.submit(make(tmp_path))).status_code == 202


async def test_a_long_recording_is_refused(start, tmp_path):
    async with start(max_audio_seconds=60) as api:
        document = is_problem(await api.submit(recordings.bomb(tmp_path, hours=0.1)), 422, "audio_too_long")
        assert "360 s" in document["detail"]
        api.assert_nothing_stays()


async def test_a_length_that_no_container_knows_is_left_to_the_decoder(start, tmp_path):
    async with start(max_audio_seconds=60) as api:
        response = await api.submit(recordings.bomb(tmp_path, hours=0.1, streamed=True))
        assert response.status_code == 202
        assert "duration" not in response.json()["audio"]


def _crash(path: str) -> None:
    os.abort()


def _hang(path: str) -> None:
    time.sleep(600)


async def test_a_demuxer_that_crashes_costs_one_upload(start, blip):
    async with start(prober=Prober(_crash)) as api:
        for _ in range(2):
            document = is_problem(await api.submit(blip), 422, "audio_unreadable")
            assert "crashed" in document["detail"]
        api.assert_nothing_stays()
        assert (await api.client.get("/healthz")).status_code == 200


async def test_a_demuxer_that_hangs_is_stopped(start, blip):
    async with start(prober=Prober(_hang, timeout=0.2)) as api:
        document = is_problem(await api.submit(blip), 422, "audio_unreadable")
        assert "within 0.2 s" in document["detail"]
        api.assert_nothing_stays()


# Bad input: forms


@pytest.mark.parametrize(
    "fields, code, says",
    [
        (
            {"min_speakers": "3", "max_speakers": "2"},
            "invalid_request",
            "min_speakers (3) is larger than max_speakers (2)",
        ),
        ({"num_speakers": "0"}, "invalid_request", "num_speakers"),
        ({"num_speakers": "1000"}, "invalid_request", "num_speakers"),
        ({"num_speakers": "two"}, "invalid_request", "num_speakers"),
        ({"num_speakers": "9", "max_speakers": "5"}, "invalid_request", "num_speakers (9)"),
        ({"operation": "translate"}, "unknown_operation", "diarize"),
        ({"lane": "express"}, "invalid_request", "interactive, batch"),
        ({"mode": "sloppy"}, "invalid_request", "mode"),
        ({"speakers": "2"}, "invalid_request", "num_speakers"),
        ({"mode": "x" * 70_000}, "invalid_request", "65536"),
        ({"language": "en"}, "invalid_request", "diarize takes no field 'language'; it takes audio, file, operation"),
    ],
)
async def test_a_bad_parameter_is_refused(api, blip, fields, code, says):
    document = is_problem(await api.submit(blip, **fields), 422, code)
    assert says in document["detail"]
    api.assert_nothing_stays()


async def test_a_bad_parameter_is_named(api, blip):
    document = is_problem(await api.submit(blip, num_speakers="0"), 422, "invalid_request")
    assert [error["field"] for error in document["errors"]] == ["num_speakers"]


@pytest.mark.parametrize(
    "parts, code",
    [
        ([("operation", None, b"diarize")], "audio_missing"),
        ([("audio", "", b"")], "audio_missing"),
        ([("audio", "a.wav", b"")], "audio_empty"),
        ([("audio", "a.wav", b"x"), ("audio", "b.wav", b"y")], "invalid_request"),
        ([("audio", "a.wav", b"x"), ("file", "b.wav", b"y")], "invalid_request"),
        ([("mode", None, b"exact"), ("mode", None, b"exact"), ("audio", "a.wav", b"x")], "invalid_request"),
        ([("", None, b"exact")], "invalid_request"),
    ],
)
async def test_a_bad_form_is_refused(api, parts, code):
    body, headers = multipart(*parts)
    is_problem(await api.client.post("/api/v1/jobs", content=body, headers=headers), 422, code)
    api.assert_nothing_stays()


@pytest.mark.parametrize(
    "body, content_type",
    [
        (b"{}", "application/json"),
        (b"RIFF", "audio/wav"),
        (b"x", "multipart/form-data"),
        (b"x", "multipart/form-data; boundary=" + "b" * 1000),
        (b"no boundary in sight", "multipart/form-data; boundary=b"),
        (
            b'--b\r\nContent-Disposition: form-data; name="audio"; filename="a"\r\n\r\nRIFF',
            "multipart/form-data; boundary=b",
        ),
        (b"", "multipart/form-data; boundary=b"),
    ],
)
async def test_what_is_no_form_is_refused(api, body, content_type):
    response = await api.client.post("/api/v1/jobs", content=body, headers={"content-type": content_type})
    is_problem(response, 422, "invalid_request")
    api.assert_nothing_stays()


async def test_too_many_bytes_without_a_content_length_are_refused(start):
    async def chunks():
        yield multipart(("audio", "a.wav", b""))[0].removesuffix(b"\r\n--b--\r\n")
        for _ in range(40):
            yield bytes(1 << 16)

    async with start(max_upload_bytes=1_000_000) as api:
        response = await api.client.post("/api/v1/jobs", content=chunks(), headers=multipart()[1])
        is_problem(response, 413, "upload_too_large")
        api.assert_nothing_stays()


async def test_a_recording_of_just_the_limit_is_taken_and_one_byte_more_is_not(start, blip):
    size = blip.stat().st_size
    async with start(max_upload_bytes=size) as api:
        assert (await api.submit(blip)).status_code == 202
    async with start(max_upload_bytes=size - 1) as api:
        assert is_problem(await api.submit(blip), 413, "upload_too_large")["limit"] == size - 1
        api.assert_nothing_stays()


async def test_an_upload_that_does_not_come_is_given_up(start):
    async def stalled():
        yield multipart(("audio", "a.wav", b""))[0].removesuffix(b"\r\n--b--\r\n")
        await asyncio.Event().wait()

    async with start(upload_timeout=0.05) as api:
        _, headers = multipart()
        sending = asyncio.create_task(api.client.post("/api/v1/jobs", content=stalled(), headers=headers))
        await until(api.spools)
        await until(lambda: api.spools() == [])
        sending.cancel()
        await asyncio.wait([sending])
        api.assert_nothing_stays()


# What the service stands on fails


async def test_without_a_broker_nothing_is_kept_and_afterwards_all_goes_on(api, blip):
    api.bus.break_down()
    response = await api.submit(blip)
    is_problem(response, 503, "broker_unavailable")
    assert int(response.headers["retry-after"]) > 0
    api.assert_nothing_stays()

    api.bus.mend()
    assert (await api.submit(blip)).status_code == 202


async def test_without_a_store_nothing_is_kept(api, blip):
    api.store.break_down()
    is_problem(await api.submit(blip), 503, "store_unavailable")
    api.store.mend()
    api.assert_nothing_stays()


async def test_a_spool_that_cannot_be_written_is_said(start, blip, tmp_path):
    async with start() as api:
        api.settings.data_dir.mkdir(exist_ok=True)
        api.settings.spool_dir.rmdir() if api.settings.spool_dir.exists() else None
        api.settings.spool_dir.touch()
        is_problem(await api.submit(blip), 503, "store_unavailable")


class _QuickWorker(MemoryBus):
    """The job is done before the publisher hears that its event was taken."""

    api = None

    async def publish(self, topic, **record):
        position = await super().publish(topic, **record)
        if topic == Topic.JOBS:
            await complete(self.api, record["key"].decode())
        return position


async def test_the_mark_of_a_job_that_is_done_already_goes(start, blip):
    bus = _QuickWorker()
    async with start(bus=bus) as api:
        bus.api = api
        job_id = await api.new_job(blip)
        assert api.records.mark(job_id, "live") is None
        assert (await api.client.get(f"/api/v1/jobs/{job_id}")).json()["state"] == "succeeded"


class _SlowStore(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.entered = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self.seconds = 0.3

    def put_stream(self, key, stream, **how):
        self.loop.call_soon_threadsafe(self.entered.set)
        time.sleep(self.seconds)
        super().put_stream(key, stream, **how)


async def test_a_caller_who_leaves_while_the_job_is_stored_leaves_no_half(start, blip):
    store = _SlowStore()
    async with start(store=store) as api:
        call = asyncio.create_task(api.submit(blip))
        await store.entered.wait()
        call.cancel()
        await until(lambda: api.bus.records(Topic.JOBS))
        await until(lambda: not api.spools())
        [(job_id, run, mark)] = api.records.pending()
        assert (run, mark.state) == ("live", MarkState.QUEUED)
        assert api.records.job(job_id).owner == next(k for k, v in api.settings.api_keys.items() if v == KEY)


async def test_a_store_that_is_too_slow_is_given_up(start, blip):
    store = _SlowStore()
    async with start(store=store, accepting_limit=0.2) as api:
        is_problem(await api.submit(blip), 503, "store_unavailable")
        api.assert_nothing_stays()


async def test_what_a_killed_process_left_is_removed_at_start(start, tmp_path):
    spool = tmp_path / "data" / "spool"
    spool.mkdir(parents=True)
    (spool / "upload-old").write_bytes(b"x")
    (spool / "audio-of-a-worker").write_bytes(b"x")
    async with start() as api:
        assert [path.name for path in api.spools()] == ["audio-of-a-worker"]

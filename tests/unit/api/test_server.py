"""Bodies and connections, on a real server and real sockets."""

import asyncio
import json
import shutil
from contextlib import asynccontextmanager, suppress

import httpx
import pytest

from producer_api.lingering import LINGER_IDLE
from schemas.topics import Topic
from tests.support.api import KEY, multipart, until, working

MiB = 1 << 20


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], dict]:
    """Status, headers and the document of an answer, as soon as it is whole."""
    async with asyncio.timeout(LINGER_IDLE):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await reader.readexactly(int(headers["content-length"]))
    return int(head[0].split()[1]), headers, json.loads(body)


def head(key: str, *more: str, path: str = "/api/v1/jobs") -> bytes:
    lines = (
        f"POST {path} HTTP/1.1",
        "host: api",
        f"x-api-key: {key}",
        "content-type: multipart/form-data; boundary=b",
        *more,
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@asynccontextmanager
async def connected(port: int):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


FORM_START = multipart(("audio", "a.wav", b""))[0].removesuffix(b"\r\n--b--\r\n")


async def test_a_wrong_key_is_answered_before_the_body_is_sent(serve):
    async with serve() as (api, port), connected(port) as (reader, writer):
        writer.write(head("wrong", f"content-length: {300 * MiB}"))
        status, headers, document = await read_answer(reader)
        assert (status, document["code"], headers["connection"]) == (401, "unauthorized", "close")
        api.assert_nothing_stays()


async def test_a_caller_who_reads_only_after_sending_300_mb_gets_the_answer(serve):
    async with serve() as (api, port), connected(port) as (reader, writer):
        writer.write(head("wrong", f"content-length: {300 * MiB}"))
        piece = bytes(MiB)
        for _ in range(300):
            writer.write(piece)
            await writer.drain()
        status, _, document = await read_answer(reader)
        assert (status, document["code"]) == (401, "unauthorized")
        assert await reader.read() == b""  # closed, not reset
        api.assert_nothing_stays()


async def test_an_ordinary_client_gets_the_answer_too(serve):
    async with (
        serve(max_upload_bytes=MiB) as (api, port),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        files = {"audio": ("a.wav", bytes(20 * MiB))}
        refused = await client.post("/api/v1/jobs", files=files, headers={"x-api-key": "wrong"})
        assert refused.status_code == 401
        too_large = await client.post("/api/v1/jobs", files=files, headers={"x-api-key": KEY})
        assert too_large.status_code == 413
        api.assert_nothing_stays()


async def test_who_asks_before_sending_is_told_not_to(serve):
    async with serve() as (_, port), connected(port) as (reader, writer):
        writer.write(head("wrong", f"content-length: {300 * MiB}", "expect: 100-continue"))
        status, _, _ = await read_answer(reader)
        assert status == 401
        assert await reader.read() == b""  # at once: nothing is waited for


async def test_too_many_bytes_are_refused_while_they_come(serve):
    async with serve(max_upload_bytes=MiB) as (api, port), connected(port) as (reader, writer):
        writer.write(head(KEY, "transfer-encoding: chunked"))
        writer.write(b"%x\r\n%s\r\n" % (len(FORM_START), FORM_START))
        answer = asyncio.create_task(read_answer(reader))
        sent = 0
        while not answer.done() and sent < 1 << 30:
            writer.write(b"%x\r\n%s\r\n" % (1 << 16, bytes(1 << 16)))
            await writer.drain()
            sent += 1 << 16
        status, headers, document = await answer
        assert (status, document["code"], headers["connection"]) == (413, "upload_too_large", "close")
        api.assert_nothing_stays()


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello, this is TLS\r\n\r\n", 400, "malformed_request"),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400, "malformed_request"),  # without a host
        (b"GET /healthz HTTP/1.1\r\nhost: api\r\nno colon here\r\n\r\n", 400, "malformed_request"),
        (head(KEY, "content-length: 5", "content-length: 6"), 400, "malformed_request"),
        (head(KEY, "transfer-encoding: chunked") + b"no number\r\n", 400, "malformed_request"),
        (b"GET /healthz HTTP/1.1\r\nhost: api\r\nx: " + b"x" * 20_000, 431, "headers_too_large"),
        (b"GET /" + b"x" * 20_000, 431, "headers_too_large"),
    ],
)
async def test_what_is_no_http_gets_a_problem_document(serve, sent, status, code):
    async with serve() as (_, port), connected(port) as (reader, writer):
        writer.write(sent)
        answered, headers, document = await read_answer(reader)
        assert (answered, document["code"], document["status"]) == (status, code, status)
        assert (headers["content-type"], headers["connection"]) == ("application/problem+json", "close")


async def test_a_head_has_no_body_and_the_connection_goes_on(serve):
    async with serve() as (_, port), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        for path, status in (("/healthz", 200), ("/api/v1/jobs", 401), ("/nowhere", 401)):
            whole, head_only = await client.get(path), await client.head(path)
            assert (head_only.status_code, head_only.content) == (whole.status_code, b"") == (status, b"")
            assert head_only.headers["content-length"] == str(len(whole.content))
            assert head_only.headers["content-type"] == whole.headers["content-type"]
        assert (await client.head("/api/v1/diarize/file", headers={"x-api-key": KEY})).status_code == 405


async def test_an_upload_that_does_not_come_is_given_up(serve):
    async with serve(upload_timeout=0.1) as (api, port), connected(port) as (reader, writer):
        writer.write(head(KEY, "content-length: 100000") + FORM_START)
        status, _, document = await read_answer(reader)
        assert (status, document["code"]) == (408, "upload_timeout")
        api.assert_nothing_stays()


async def test_a_caller_who_leaves_in_the_middle_leaves_nothing(serve):
    async with serve() as (api, port):
        async with connected(port) as (_, writer):
            writer.write(head(KEY, f"content-length: {8 * MiB}") + FORM_START + bytes(4 * MiB))
            await until(lambda: [path for path in api.spools() if path.stat().st_size])
        await until(lambda: not api.spools())
        api.assert_nothing_stays()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.get("/healthz")).status_code == 200


async def test_a_connection_is_kept_after_a_body_that_was_read(serve, blip):
    body, _ = multipart(("audio", "a.wav", blip.read_bytes()))
    async with serve() as (api, port), connected(port) as (reader, writer):
        for _ in range(2):
            writer.write(head(KEY, f"content-length: {len(body)}") + body)
            status, headers, _ = await read_answer(reader)
            assert (status, headers.get("connection")) == (202, None)
        assert len(api.bus.records(Topic.JOBS)) == 2


async def test_hanging_up_cancels_nothing(serve, blip):
    body, _ = multipart(("audio", "a.wav", blip.read_bytes()))
    async with serve() as (api, port):
        async with connected(port) as (_, writer):
            writer.write(head(KEY, f"content-length: {len(body)}", path="/api/v1/diarize/file") + body)
            await until(lambda: api.bus.records(Topic.JOBS))
        [record] = api.bus.records(Topic.JOBS)
        assert api.records.job(record.key.decode())
        assert not api.records.ended(record.key.decode(), "live")
        api.service.results.release()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_example_call_works_as_it_stands(serve, blip):
    async with serve() as (api, port), working(api):
        curl = await asyncio.create_subprocess_exec(
            *("curl", "-sS", "-X", "POST", f"http://127.0.0.1:{port}/api/v1/diarize/file", "-H", f"x-api-key: {KEY}"),
            *("-F", f"audio=@{blip}", "-F", "min_speakers=1", "-F", "max_speakers=5"),
            stdout=asyncio.subprocess.PIPE,
        )
        answer = json.loads((await curl.communicate())[0])
    assert answer["segments"][0] == {"speaker": "SPEAKER_00", "start": 0.12, "end": 4.56}
    assert (answer["num_speakers"], answer["performance"]) == (1, 1.25)

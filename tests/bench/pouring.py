"""A load generator that costs little: one prepared upload, sent again and again over a few connections that stay open."""

import asyncio
import io
import multiprocessing
import signal
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from urllib.parse import urlsplit

BOUNDARY = "turnstream"
NAP = 0.005
"""Seconds until another look at whether there is room."""
END_LIMIT = 10.0


def recording(seconds: float = 0.1) -> bytes:
    """Silence as a WAV file, 16 kHz, 16 bit."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(2 * round(16_000 * seconds)))
    return out.getvalue()


@dataclass(frozen=True)
class Load:
    url: str
    jobs: int
    ahead: int
    """Jobs that may be accepted and not ended: further ones wait, so that what is measured is a steady state."""
    connections: int = 8


class Pouring:
    """The generator's process, seen from the one that started it."""

    def __init__(self, load: Load) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._accepted: Synchronized[int] = spawn.Value("q", 0)
        self._ended: Synchronized[int] = spawn.Value("q", 0)
        self.process = spawn.Process(target=_main, args=(load, self._accepted, self._ended), name="load", daemon=True)
        self.process.start()

    @property
    def accepted(self) -> int:
        return self._accepted.value

    def ended(self, jobs: int) -> None:
        """Say how many jobs have ended: so much room there is for others."""
        self._ended.value = jobs

    @property
    def failed(self) -> bool:
        return self.process.exitcode not in (None, 0)


@contextmanager
def pouring(load: Load) -> Iterator[Pouring]:
    generator = Pouring(load)
    try:
        yield generator
    finally:
        generator.process.terminate()
        generator.process.join(END_LIMIT)


def _main(load: Load, accepted: "Synchronized[int]", ended: "Synchronized[int]") -> None:
    asyncio.run(_pour(load, accepted, ended))
    signal.pause()  # until it is stopped: its processor time is asked for at the end


async def _pour(load: Load, accepted: "Synchronized[int]", ended: "Synchronized[int]") -> None:
    request, began, left = _request(load.url), time.monotonic(), iter(range(load.jobs))

    async def send() -> None:
        address = urlsplit(load.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        for number in left:
            while number - ended.value >= load.ahead:  # noqa: ASYNC110 - another process counts
                await asyncio.sleep(NAP)
            writer.write(request)
            status = await _answer(reader)
            if status != 202:
                raise RuntimeError(f"the API answered {status} after {time.monotonic() - began:.1f} s")
            accepted.value += 1  # one task at a time is here, and no other process writes
        writer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(load.connections):
            group.create_task(send())


async def _answer(reader: asyncio.StreamReader) -> int:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    await reader.readexactly(int(head.partition("content-length:")[2].partition("\r\n")[0]))
    return int(head.split(" ", 2)[1])


def _request(url: str) -> bytes:
    part = f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="audio"; filename="silence.wav"\r\n\r\n'
    body = part.encode() + recording() + f"\r\n--{BOUNDARY}--\r\n".encode()
    head = (
        f"POST /api/v1/jobs HTTP/1.1\r\nhost: {urlsplit(url).netloc}\r\n"
        f"content-type: multipart/form-data; boundary={BOUNDARY}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body

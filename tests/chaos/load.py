"""Clients that hand jobs in while all goes wrong, and the book they keep of what they were promised."""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import httpx

TIMEOUT = httpx.Timeout(15.0, connect=3.0)
AWAY = 0.3
"""Seconds a client waits after an answer that was none."""
TRICKLE = 40.0
"""Seconds of a client between two jobs, on average, while enough wait."""


class Kind(StrEnum):
    """What a job does, by the name of its file (`processor.engines.scripted`)."""

    GOOD = "good"
    ERROR = "error"
    MEMORY = "memory"
    CRASH = "crash"
    HANG = "hang"


EVERY = {Kind.HANG: 400, Kind.CRASH: 60, Kind.MEMORY: 45, Kind.ERROR: 20}
"""Each of these once in so many jobs."""
OPERATIONS = ("diarize", "diarize", "transcribe", "transcript")
CANCELLED, ERASED, AGAIN = 0.04, 0.04, 0.08
"""Parts of the accepted jobs that are cancelled, erased, and computed once more."""


def kind_of(filename: str) -> Kind:
    word = filename.partition("-")[0]
    return Kind(word) if word in set(Kind) else Kind.GOOD


class Erased(StrEnum):
    NO = "no"
    ASKED = "asked"
    """No answer came: maybe it is, maybe not."""
    DONE = "done"


@dataclass(slots=True)
class Promise:
    """A run that was acknowledged."""

    job: str
    run: str
    filename: str
    operation: str
    at: float
    """When the answer came, in seconds since 1970."""
    cancelled: bool = False
    """Somebody asked for it."""
    erased: Erased = Erased.NO

    @property
    def id(self) -> str:
        return f"{self.job}/{self.run}"


@dataclass(slots=True)
class Book:
    promises: list[Promise] = field(default_factory=list)
    refused: int = 0
    """Answers other than 202."""
    broken: int = 0
    """No answer."""

    def of_job(self, job: str) -> list[Promise]:
        return [each for each in self.promises if each.job == job]


class Load:
    """So many clients, one job each at a time. While `busy` says so they hold back, and hand in a few all the same: a stack
    that gets nowhere under faults would meet none in its intake any more.
    """

    def __init__(
        self, url: Callable[[], str], audio: bytes, seed: int, busy: Callable[[], bool], *, clients: int, real: bool
    ) -> None:
        self.book = Book()
        self._url, self._audio, self._busy = url, audio, busy
        self._draw = random.Random(seed)
        self._clients, self._real = clients, real
        self._numbers = iter(range(1, 1 << 30))
        self._over = asyncio.Event()
        self._after: set[asyncio.Task[None]] = set()

    async def run(self, pause: float) -> None:
        """Until `end`; `pause`: mean seconds of a client between two jobs."""
        async with httpx.AsyncClient(timeout=TIMEOUT) as http:
            await asyncio.gather(*(self._client(http, pause) for _ in range(self._clients)))
            await asyncio.gather(*self._after)

    def end(self) -> None:
        self._over.set()

    async def _client(self, http: httpx.AsyncClient, pause: float) -> None:
        while not self._over.is_set():
            await self._hand_in(http)
            await self._rest(self._draw.uniform(0, 2 * pause))
            following = time.monotonic() + self._draw.uniform(0, 2 * TRICKLE)
            while self._busy() and time.monotonic() < following and not self._over.is_set():
                await self._rest(pause)

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._over.wait()
        except TimeoutError:
            pass

    def _filename(self, number: int) -> str:
        for kind, every in EVERY.items():
            if not self._real and number % every == every // 2:
                return f"{kind}-{number:06d}.wav"
        seconds = 10 ** self._draw.uniform(-2, 0)
        return f"sleep-{seconds:.3f}-{number:06d}.wav"

    async def _hand_in(self, http: httpx.AsyncClient) -> None:
        filename = self._filename(next(self._numbers))
        operation = "diarize" if self._real else self._draw.choice(OPERATIONS)
        lane = self._draw.choice(("interactive", "batch"))
        fortune, delay = self._draw.random(), self._draw.uniform(0, 1.5)
        answer = await self._ask(
            http.post,
            "/api/v1/jobs",
            files={"audio": (filename, self._audio)},
            data={"operation": operation, "lane": lane},
        )
        if answer is None or answer.status_code != 202:
            await self._rest(AWAY)
            return
        promise = Promise(answer.json()["id"], "live", filename, operation, time.time())
        self.book.promises.append(promise)
        if fortune < CANCELLED:
            self._later(self._cancel(http, promise, delay))
        elif fortune < CANCELLED + ERASED:
            self._later(self._erase(http, promise, delay))
        elif fortune < CANCELLED + ERASED + AGAIN and kind_of(filename) is Kind.GOOD:
            self._later(self._once_more(http, promise, delay))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._after.add(task)

    async def _cancel(self, http: httpx.AsyncClient, promise: Promise, delay: float) -> None:
        await self._rest(delay)
        promise.cancelled = True
        await self._ask(http.post, f"/api/v1/jobs/{promise.job}/cancel")

    async def _erase(self, http: httpx.AsyncClient, promise: Promise, delay: float) -> None:
        await self._rest(delay)
        promise.erased = Erased.ASKED
        answer = await self._ask(http.delete, f"/api/v1/jobs/{promise.job}")
        if answer is not None and answer.status_code == 204:
            promise.erased = Erased.DONE

    async def _once_more(self, http: httpx.AsyncClient, promise: Promise, delay: float) -> None:
        await self._rest(delay)
        answer = await self._ask(http.post, f"/api/v1/jobs/{promise.job}/runs", files={"run": (None, "again")})
        if answer is not None and answer.status_code == 202:
            again = Promise(promise.job, "again", promise.filename, promise.operation, time.time())
            self.book.promises.append(again)

    async def _ask(self, call: Callable[..., Any], path: str, **content: Any) -> httpx.Response | None:
        try:
            answer: httpx.Response = await call(f"{self._url()}{path}", **content)
        except httpx.TransportError:
            self.book.broken += 1
            return None
        if answer.is_error:
            self.book.refused += 1
        return answer

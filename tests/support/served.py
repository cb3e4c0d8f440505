"""The API on a port of this machine, standing on the public twins, with a worker: for what speaks to it over HTTP."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from producer_api.app import create_app
from producer_api.probing import Prober
from schemas.errors import EngineFailed
from schemas.events import JOB_REQUESTED, Event
from schemas.jobs import JobRequested
from schemas.topics import Topic
from tests.support.api import Api, complete
from tests.support.waiting import until
from turnstream.bus.memory import MemoryBus
from turnstream.client import Client
from turnstream.object_store.memory import MemoryStore
from turnstream.settings import Settings


@dataclass
class Trouble:
    """What goes wrong, until a test takes it back."""

    failing: set[str] = field(default_factory=set)
    """Names of recordings that cannot be computed."""
    damaged: set[str] = field(default_factory=set)
    """Names of recordings of which only a part can be computed."""
    lost: int = 0
    """So many more answers to submissions do not reach the caller."""
    refusals: list[tuple[int, str]] = field(default_factory=list)
    """Answers to the next submissions, instead of taking them: the status and Retry-After."""


@dataclass
class Served:
    url: str
    api: Api
    trouble: Trouble
    asked: Counter[str] = field(default_factory=Counter)
    """How often which call was made: method and path, ids left out."""
    most: int = 0
    """Submissions and looks that were under way at the same time."""

    def client(self) -> Client:
        return Client(self.url)

    def runs(self) -> Counter[str]:
        """How many runs each job has."""
        with self.client() as client:
            return Counter(view.id for job in client.jobs() for view in client.runs(job.id))


class _Meddling:
    """Between the server and the API."""

    def __init__(self, app: ASGIApp, served: Served) -> None:
        self._app, self._served, self._under_way = app, served, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        parts = ["ID" if part.count("-") == 4 else part for part in scope["path"].split("/")]
        call = f"{scope['method']} {'/'.join(parts)}"
        self._served.asked[call] += 1
        self._under_way += 1
        self._served.most = max(self._served.most, self._under_way)
        try:
            await (self._submission if call == "POST /api/v1/jobs" else self._app)(scope, receive, send)
        finally:
            self._under_way -= 1

    async def _submission(self, scope: Scope, receive: Receive, send: Send) -> None:
        trouble = self._served.trouble
        if trouble.refusals:
            status, after = trouble.refusals.pop(0)
            while (await receive()).get("more_body"):
                pass
            await send({"type": "http.response.start", "status": status, "headers": [(b"retry-after", after.encode())]})
            return await send({"type": "http.response.body", "body": b""})
        if not trouble.lost:
            return await self._app(scope, receive, send)
        trouble.lost -= 1

        async def nowhere(_: Message) -> None: ...

        await self._app(scope, receive, nowhere)
        # An answer that breaks off: the server closes the connection.
        await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"1000")]})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})


@contextmanager
def serving(data_dir: Path, prober: Prober, **settings: object) -> Iterator[Served]:
    """Ready when entered."""
    store, bus, trouble = MemoryStore(), MemoryBus(), Trouble()
    configured = Settings(_env_file=None, data_dir=data_dir, **settings)
    app = create_app(configured, store=store, bus=bus, prober=prober)
    api = Api(app, httpx.AsyncClient(), configured, store, bus)
    served = Served("", api, trouble)
    config = uvicorn.Config(
        _Meddling(app, served), port=0, lifespan="off", log_level="critical", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=asyncio.run, args=(_serve(server, app, api, trouble),))
    thread.start()
    try:
        until(lambda: server.started and app.state.service.watch.problem is None, 30)
        served.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        yield served
    finally:
        server.should_exit = True
        thread.join()


async def _serve(server: uvicorn.Server, app, api: Api, trouble: Trouble) -> None:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(api.client)
        await stack.enter_async_context(app.router.lifespan_context(app))
        work = asyncio.create_task(_work(api, trouble))
        await server.serve()
        work.cancel()
        await asyncio.wait([work])


async def _work(api: Api, trouble: Trouble) -> None:
    async for record in api.bus.read(Topic.JOBS):
        asked = Event.parse(record.headers, record.value).read(JOB_REQUESTED, JobRequested)
        if asked.audio is not None and asked.audio.filename in trouble.failing:
            api.records.put_error(asked.job_id, asked.run, EngineFailed("it did not work").info)
            api.records.remove_mark(asked.job_id, asked.run)
        else:
            damaged = asked.audio is not None and asked.audio.filename in trouble.damaged
            await complete(api, asked.job_id, asked.run, warnings=["audio_damaged"] * damaged)

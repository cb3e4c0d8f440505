"""The API in this process, standing on the public twins."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn

from producer_api.app import create_app
from producer_api.protocol import Protocol
from tests.support import recordings
from tests.support.api import KEY, OTHER_KEY, Api, SharedProber, until
from turnstream.bus.memory import MemoryBus
from turnstream.object_store.memory import MemoryStore
from turnstream.settings import Settings


@pytest.fixture(scope="session")
def prober() -> Iterator[SharedProber]:
    prober = SharedProber()
    yield prober
    prober.end()


@pytest.fixture
def start(tmp_path: Path, prober: SharedProber) -> Iterator[Callable]:
    @asynccontextmanager
    async def start(**settings) -> AsyncIterator[Api]:
        ready = settings.pop("ready", True)
        store, bus = settings.pop("store", None) or MemoryStore(), settings.pop("bus", None) or MemoryBus()
        probing, operations = settings.pop("prober", prober), settings.pop("operations", None)
        given = {"api_key": f"{KEY}, {OTHER_KEY}", "data_dir": tmp_path / "data", **settings}
        configured = Settings(_env_file=None, **given)
        app = create_app(configured, store=store, bus=bus, prober=probing, operations=operations)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(app.router.lifespan_context(app))
            client = await stack.enter_async_context(
                httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api", headers={"x-api-key": KEY})
            )
            api = Api(app, client, configured, store, bus)
            if ready:
                await until(lambda: api.service.watch.problem is None)
            yield api

    yield start


@pytest.fixture
async def api(start) -> AsyncIterator[Api]:
    async with start() as api:
        yield api


@pytest.fixture(scope="session")
def blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 ms of audio."""
    return recordings.blip(tmp_path_factory.mktemp("recordings"))


@pytest.fixture
def serve(start) -> Callable:
    @asynccontextmanager
    async def serve(**settings):
        """The API behind uvicorn; gives it and the port."""
        async with AsyncExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            api = await stack.enter_async_context(start(**settings))
            config = uvicorn.Config(
                api.app, http=Protocol, lifespan="off", log_config=None, timeout_graceful_shutdown=1
            )
            server = uvicorn.Server(config)
            serving = asyncio.create_task(server._serve([listener]))
            await until(lambda: server.started)
            yield api, listener.getsockname()[1]
            server.should_exit = True
            await serving

    return serve

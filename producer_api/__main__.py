"""`python -m producer_api`: the API as one process, configured by the environment."""

import asyncio
import logging
import signal
import sys
from types import FrameType

import uvicorn
from fastapi import FastAPI

from producer_api.app import create_app
from producer_api.protocol import Protocol
from schemas.errors import SettingsInvalid
from turnstream import lifeline
from turnstream.startup import EX_CONFIG, settings_of

log = logging.getLogger("turnstream.api")

GRACEFUL = 3
"""Seconds the open calls have to end when the process is told to stop."""


class Server(uvicorn.Server):
    """When told to stop, callers who wait for a result are answered at once: their job goes on, and they know its address."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[object] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)  # pyright: ignore[reportArgumentType]

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        service = getattr(self._app.state, "service", None)
        if self._loop is not None and service is not None:
            self._loop.call_soon_threadsafe(service.results.release)


def main() -> int:
    settings = settings_of(log)
    lifeline.watch()
    try:
        app = create_app(settings)
    except SettingsInvalid as error:
        log.critical("%s", error)
        return EX_CONFIG
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=Protocol,
        ws="none",
        log_config=None,
        access_log=settings.log_level == "DEBUG",
        server_header=False,
        timeout_graceful_shutdown=GRACEFUL,
    )
    for sig in (signal.SIGINT, signal.SIGTERM):
        signal.signal(
            sig, lambda *_: None
        )  # uvicorn raises what it caught once more at its end: we are leaving already
    server = Server(config, app)
    server.run()
    return 0 if server.started else 3


if __name__ == "__main__":
    sys.exit(main())

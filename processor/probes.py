"""Where a worker is asked how it is: `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever keeps it running.

Served on the worker's own event loop: it answers only while the loop runs, and what it shows is of one moment.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from processor.metrics import Metrics
from schemas.errors import PortTaken

CLOSE_LIMIT = 1.0
"""Seconds that open calls have to end when the worker does."""


@asynccontextmanager
async def serve(host: str, port: int, metrics: Metrics, trouble: Callable[[], str | None]) -> AsyncGenerator[str]:
    """Yields the address, such as `http://127.0.0.1:9464`; `port` 0 takes a free one. `trouble`: why the worker is not ready, or
    None. Raises PortTaken.
    """

    async def tell_metrics(request: web.Request) -> web.Response:
        body, media_type = metrics.exposition(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": media_type})

    async def tell_health(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def tell_readiness(_: web.Request) -> web.Response:
        why = trouble()
        return web.Response(text="ready\n") if why is None else web.Response(text=f"{why}\n", status=503)

    app = web.Application()
    app.add_routes(
        [web.get("/metrics", tell_metrics), web.get("/healthz", tell_health), web.get("/readyz", tell_readiness)]
    )
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=CLOSE_LIMIT)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise PortTaken(
                f"metrics cannot be served on {host}:{port} ({error.strerror}): set METRICS_PORT"
            ) from error
        address, bound = runner.addresses[0][:2]
        yield f"http://{f'[{address}]' if ':' in address else address}:{bound}"
    finally:
        await runner.cleanup()

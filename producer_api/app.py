"""The application. Nothing is opened at import: resources live as long as the lifespan."""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from producer_api import problems
from producer_api.auth import AuthMiddleware
from producer_api.head import HeadMiddleware
from producer_api.lingering import LingeringMiddleware
from producer_api.measuring import MeasuringMiddleware
from producer_api.metrics import Metrics
from producer_api.openapi import DESCRIPTION, complete
from producer_api.probing import Prober
from producer_api.routes import diarize, events, health, jobs, metrics, webhooks
from producer_api.service import running
from producer_api.webhooks.admission import require_usable
from turnstream import __version__
from turnstream import bus as buses
from turnstream import object_store as stores
from turnstream.bus.base import Bus
from turnstream.object_store.base import ObjectStore
from turnstream.operations import Operations, installed
from turnstream.settings import Settings

log = logging.getLogger("turnstream.api")


def create_app(
    settings: Settings,
    *,
    store: ObjectStore | None = None,
    bus: Bus | None = None,
    prober: Prober | None = None,
    operations: Operations | None = None,
) -> FastAPI:
    """The producer API. `store`, `bus` and `prober` replace what the settings name, such as by the twins, and `operations`
    those that are installed.

    Raises SettingsInvalid where no key is configured and other machines could call, where webhooks could not be sent, or an
    operation cannot be had.
    """
    settings.require_protection()
    require_usable(settings)
    operations = installed() if operations is None else operations
    measured = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with running(
            settings,
            store or stores.connect(settings),
            bus or buses.connect(settings),
            prober or Prober(),
            operations,
            measured,
        ) as service:
            app.state.service = service
            yield

    app = FastAPI(
        title="Turnstream",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
    )
    routers = (diarize.router, jobs.router, events.router, webhooks.router, health.router, metrics.router)
    for router in routers:
        app.include_router(router)
    app.state.routes = [route for router in routers for route in router.routes]
    complete(app, operations)
    # The last one added is the first to see a call.
    app.add_middleware(AuthMiddleware, settings=settings)
    problems.install(app)
    app.add_middleware(LingeringMiddleware)
    app.add_middleware(HeadMiddleware)
    app.add_middleware(MeasuringMiddleware, metrics=measured)
    return app

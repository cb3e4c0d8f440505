"""Counts and times every call, whatever answers it."""

import time

from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from producer_api.metrics import Metrics

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"
"""Stands for every method that HTTP does not know, and for every address that no route has."""
GONE = 499
"""Stands as the status of a call whose caller left before an answer."""


class MeasuringMiddleware:
    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = GONE

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        began = time.monotonic()
        self._metrics.called()
        try:
            await self.app(scope, receive, sending)
        finally:
            method = scope["method"] if scope["method"] in METHODS else OTHER
            self._metrics.answered(method, _template(scope), status, time.monotonic() - began)


def _template(scope: Scope) -> str:
    """That of the address, such as /api/v1/jobs/{job_id}: also of a call that never came to its route."""
    routes = scope["app"].state.routes
    return next((route.path for route in routes if route.matches(scope)[0] is not Match.NONE), OTHER)

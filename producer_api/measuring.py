"""Counts and times every call, whatever answers it."""

import time

from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from producer_api.metrics import Metrics
from producer_api.problems import PROBLEM

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
        call = _Call(scope, receive, send, self._metrics)
        self._metrics.called()
        try:
            await self.app(scope, call.receive, call.send)
        finally:
            call.over()


class _Call:
    def __init__(self, scope: Scope, receive: Receive, send: Send, metrics: Metrics) -> None:
        self._scope, self._receive, self._send, self._metrics = scope, receive, send, metrics
        scope.setdefault("state", {})
        self._began = time.monotonic()
        self._status = GONE
        self._form = 0
        """Bytes of it so far."""

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            size = len(message.get("body", b""))
            self._form += size
            self._metrics.received(size)
            if self._form and not message.get("more_body", False):
                self._form = 0
                self._metrics.uploaded(time.monotonic() - self._began)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
        await self._send(message)

    def over(self) -> None:
        scope = self._scope
        method = scope["method"] if scope["method"] in METHODS else OTHER
        route = _template(scope)
        self._metrics.answered(method, route, self._status, time.monotonic() - self._began)
        if (code := scope["state"].get(PROBLEM)) is not None:
            self._metrics.refused(route, code)


def _template(scope: Scope) -> str:
    """That of the address, such as /api/v1/jobs/{job_id}: also of a call that never came to its route."""
    routes = scope["app"].state.routes
    return next((route.path for route in routes if route.matches(scope)[0] is not Match.NONE), OTHER)

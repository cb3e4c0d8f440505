"""The only place that turns errors into `application/problem+json` documents (RFC 9457)."""

import http
import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schemas.errors import (
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    RouteNotFound,
    TurnstreamError,
    Unauthorized,
    WaitExpired,
)

log = logging.getLogger("turnstream.api")
MEDIA_TYPE = "application/problem+json"
PROBLEM = "problem"
"""Under which the state of a call has the code of the problem that it was answered with."""


class Problem(BaseModel):
    """An error. `code` is stable and for programs, `detail` is for people; some problems have more members."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="the kind of problem as a URI: urn:turnstream:problem:<code>")
    title: str
    status: int
    detail: str
    instance: str = Field(description="the path that was called")
    code: str


def problem(error: TurnstreamError, instance: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer that tells a caller of `error`."""
    document = Problem.model_validate(
        error.extra
        | {
            "type": f"urn:turnstream:problem:{error.code}",
            "title": error.title,
            "status": error.status,
            "detail": error.detail,
            "instance": instance,
            "code": error.code,
        }
    )
    return JSONResponse(
        document.model_dump(mode="json"),
        status_code=error.status,
        headers=_headers(error) | dict(headers or {}),
        media_type=MEDIA_TYPE,
    )


def _headers(error: TurnstreamError) -> dict[str, str]:
    headers: dict[str, str] = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = 'Bearer realm="turnstream"'
    if isinstance(error, WaitExpired) and "job" in error.extra:
        headers["Location"] = error.extra["job"]
    return headers


def invalid(error: ValidationError | RequestValidationError) -> InvalidRequest:
    """A model's complaint in the words of a caller: which field, and what is wrong with it."""
    fields = [
        {"field": ".".join(str(part) for part in item["loc"] if part not in {"query", "path"}), "detail": _says(item)}
        for item in error.errors()
    ]
    detail = "; ".join(f"{item['field']}: {item['detail']}" if item["field"] else item["detail"] for item in fields)
    return InvalidRequest(detail, errors=fields)


def _says(item: Mapping[str, Any]) -> str:
    return str(item["msg"]).removeprefix("Value error, ")


def understood(error: Exception) -> TurnstreamError:
    """Any exception as one of the tree; what is not expected is logged and says nothing of our inside."""
    if isinstance(error, TurnstreamError):
        return error
    if isinstance(error, RequestValidationError):
        return invalid(error)
    if isinstance(error, HTTPException) and error.status_code < 500:
        by_status = {404: RouteNotFound, 405: MethodNotAllowed}
        return by_status.get(error.status_code, InvalidRequest)()
    log.error("an unexpected error", exc_info=error)
    return InternalError()


async def _handle(request: Request, error: Exception) -> Response:
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if "Allow" in headers:
        headers["Allow"] = _allowed(request) or headers["Allow"]
    found = understood(error)
    setattr(request.state, PROBLEM, found.code)
    return problem(found, request.url.path, headers)


def _allowed(request: Request) -> str:
    """The methods of every route at this address; Starlette names those of the first only."""
    routes = [route for route in request.app.state.routes if route.matches(request.scope)[0] is not Match.NONE]
    methods = {method for route in routes for method in route.methods}
    return ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))


class ProblemMiddleware:
    """Answers for what is raised outside the routes, and for what nobody expected."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, sending)
        except ClientDisconnect:
            log.info("the caller of %s left while sending", scope["path"])
        except Exception as error:
            if started:
                raise
            found = understood(error)
            scope.setdefault("state", {})[PROBLEM] = found.code
            await problem(found, scope["path"])(scope, receive, send)


def install(app: FastAPI) -> None:
    for kind in (HTTPException, RequestValidationError, TurnstreamError):
        app.add_exception_handler(kind, _handle)
    app.add_middleware(ProblemMiddleware)


def declare(*errors: type[TurnstreamError]) -> dict[int | str, dict[str, Any]]:
    """The problems a route may answer with, for its OpenAPI `responses`."""
    declared: dict[int | str, dict[str, Any]] = {}
    for cls in (*errors, InternalError):
        entry = declared.setdefault(
            cls.status,
            {
                "description": http.HTTPStatus(cls.status).phrase,
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}},
            },
        )
        example = {
            "type": f"urn:turnstream:problem:{cls.code}",
            "title": cls.title,
            "status": cls.status,
            "detail": cls.title,
            "instance": "/api/v1/jobs",
            "code": cls.code,
        }
        entry["content"][MEDIA_TYPE]["examples"][cls.code] = {"summary": cls.title, "value": example}
    return declared

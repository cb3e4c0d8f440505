"""Who calls, and may the call be made at all: decided before the first byte of the body is read."""

import hmac
import logging

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from schemas.errors import InvalidRequest, OperationDisabled, Unauthorized, UploadTooLarge
from schemas.operation import Operation
from schemas.operations import DIARIZE
from turnstream.settings import ANONYMOUS, KiB, Settings

log = logging.getLogger("turnstream.api")

PUBLIC = frozenset({"/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"})
DIARIZE_FILE = "/api/v1/diarize/file"
UPLOADS = frozenset({DIARIZE_FILE, "/api/v1/jobs"})
FORM_ALLOWANCE = 256 * KiB
"""Bytes a form may have besides its recording: boundaries, headers and the other fields."""


def require_enabled(operation: Operation, settings: Settings) -> None:
    """Raises OperationDisabled."""
    if DIARIZE.name in operation.models and not settings.enable_diarization:
        raise OperationDisabled("Diarization is switched off here (ENABLE_DIARIZATION=false)")


class AuthMiddleware:
    """Puts the owner, the id of the caller's key, into the request's state. Raises what `problems` answers with."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self._settings = settings
        self._keys = [(owner, key.encode()) for owner, key in settings.api_keys.items()]
        if not self._keys:
            log.warning(
                "API_KEY is not set: everybody on this machine may call, and nobody else (HOST=%s)", settings.host
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in PUBLIC:
            headers = Headers(scope=scope)
            scope.setdefault("state", {})["owner"] = self._owner(headers)
            if scope["method"] == "POST" and scope["path"] in UPLOADS:
                self._check_upload(scope["path"], headers)
        await self.app(scope, receive, send)

    def _owner(self, headers: Headers) -> str:
        if not self._keys:
            return ANONYMOUS
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = headers.get("x-api-key") or (token.strip() if scheme.lower() == "bearer" else "")
        owner = None
        for candidate, key in self._keys:  # all of them: the time taken tells nothing about which one fits
            if hmac.compare_digest(given.encode("latin-1"), key):
                owner = candidate
        if owner is None:
            raise Unauthorized("Send a valid key as x-api-key or as Authorization: Bearer")
        return owner

    def _check_upload(self, path: str, headers: Headers) -> None:
        if path == DIARIZE_FILE:
            require_enabled(DIARIZE, self._settings)
        try:
            length = int(headers.get("content-length", "0"))
        except ValueError:
            raise InvalidRequest("Content-Length is not a number") from None
        limit = self._settings.max_upload_bytes
        if length > limit + FORM_ALLOWANCE:
            raise UploadTooLarge(f"The upload has {length} bytes, {limit} are taken at most", limit=limit)

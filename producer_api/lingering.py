"""An answer that is given before the whole body was read must still reach a caller who is busy sending.

A socket that is closed while unread bytes lie in it resets the connection, and a reset throws away what the other side has
not read yet: the answer. So the answer goes out first, whole and with `Connection: close`; then what still arrives is read
and dropped for a bounded time; then the connection is closed. https://www.rfc-editor.org/rfc/rfc9112#section-9.6
"""

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LINGER = 30.0
"""Seconds a caller may go on sending after it was answered."""
LINGER_IDLE = 5.0
"""Seconds of silence after which it is not waited for any longer."""


class LingeringMiddleware:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
            await self.app(scope, receive, send)
            return
        unread = True

        async def receiving() -> Message:
            nonlocal unread
            message = await receive()
            if not message.get("more_body", False):
                unread = False
            return message

        async def sending(message: Message) -> None:
            if unread and message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            elif unread and not message.get("more_body", False):
                await send({**message, "more_body": True})
                # Who asked before sending ("Expect: 100-continue") was not told to go on, and sends nothing.
                if "expect" not in headers:
                    await _drain(receiving)
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        await self.app(scope, receiving, sending)


async def _drain(receive: Receive) -> None:
    try:
        async with asyncio.timeout(LINGER):
            more = True
            while more:
                async with asyncio.timeout(LINGER_IDLE):
                    more = (await receive()).get("more_body", False)
    except TimeoutError:
        return

"""Receivers of webhooks: real HTTP servers of this process that keep what comes and answer as they are told."""

import ssl
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from standardwebhooks import Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_c2VjcmV0LW9mLXRoaXJ0eS10d28tYnl0ZXMtaGVyZSE="
LOCAL = {
    "webhook_secret": SECRET,
    "webhook_allow_http": True,
    "webhook_allowed_networks": "127.0.0.1/32",
}
"""Settings under which webhooks go to receivers of this machine."""


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def verified(self, secret: str = SECRET) -> dict[str, Any]:
        """What it says. Raises WebhookVerificationError."""
        return Webhook(secret).verify(self.body, self.headers)


Answer = int | tuple[int, dict[str, str]]


@dataclass
class Receiver:
    """Answers 204 unless `answer` says otherwise; while it is not `up` it takes connections and drops them."""

    answer: Callable[[Received], Answer] = lambda received: 204
    tls: ssl.SSLContext | None = None
    up: Callable[[], bool] = lambda: True
    received: list[Received] = field(default_factory=list)
    """What was taken in whole."""
    refused: int = 0
    """Connections that came while it was not up."""

    def __enter__(self) -> Self:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                if not outer.up():
                    outer.refused += 1
                    self.close_connection = True
                    return
                body = self.rfile.read(int(self.headers["content-length"]))
                received = Received(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                outer.received.append(received)
                answer = outer.answer(received)
                status, headers = answer if isinstance(answer, tuple) else (answer, {})
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self.url = f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def ids(self) -> Counter[str]:
        return Counter(received.id for received in self.received)

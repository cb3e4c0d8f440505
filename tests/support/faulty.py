"""A bad line to an object store: a proxy that refuses, hangs, delays, answers for the server, and cuts what it sends.

A connection carries one request, so that what goes wrong is decided anew for each. Whole requests and answers are held in memory.
"""

import http.client
import io
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
PATIENCE = 60.0
"""Seconds that the proxy itself waits at most."""

Fault = Callable[["Exchange"], None]
"""What is done to a request, in a thread of its own. One that neither forwards nor answers hangs up."""


class FaultyProxy:
    """A context manager. It listens at `address`, and passes on to `upstream` what no fault takes the place of."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.requests: list[str] = []
        """The methods of those that came, faulty or not."""
        self.mended = threading.Event()
        """Set when the fault of this moment is over."""
        self._fault: Fault = Exchange.forward
        # Holds the port while nobody listens on it: a call is then refused, and no other program gets the port.
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._holder.bind((HOST, 0))
        self.address = f"{HOST}:{self._holder.getsockname()[1]}"
        self._server: _Server | None = None

    def __enter__(self) -> Self:
        self._listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.mended.set()
        self._hang_up()
        self._holder.close()

    @contextmanager
    def failing(self, fault: Fault) -> Iterator[None]:
        """With this fault in the place of every request that begins meanwhile."""
        self._fault, self.mended = fault, threading.Event()
        try:
            yield
        finally:
            self._fault = Exchange.forward
            self.mended.set()

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Nothing listens; requests that are under way go on."""
        self._hang_up()
        try:
            yield
        finally:
            self._listen()

    def serve(self, exchange: "Exchange") -> None:
        self.requests.append(exchange.method)
        self._fault(exchange)

    def _listen(self) -> None:
        self._server = _Server(self)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), name="proxy", daemon=True).start()

    def _hang_up(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class Exchange(BaseHTTPRequestHandler):
    """One request and its answer. `mended` is set when the fault that it meets is over."""

    server: "_Server"

    def handle_one_request(self) -> None:
        with suppress(OSError):  # the client has lost its patience
            super().handle_one_request()

    def do_GET(self) -> None:
        self.method = self.command
        self.mended = self.server.proxy.mended
        self._body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with suppress(OSError, http.client.HTTPException):  # the server is away: hang up
            self.server.proxy.serve(self)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

    def forward(self, upto: int | None = None) -> None:
        """What the server answers; of the body `upto` bytes at most, whatever was announced."""
        connection = http.client.HTTPConnection(self.server.proxy.upstream, timeout=PATIENCE)
        connection.putrequest(self.method, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            connection.putheader(name, value)
        connection.endheaders(self._body)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in {"connection", "transfer-encoding", "content-length"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)) if body else answer.getheader("Content-Length", "0"))
        self.end_headers()
        self.wfile.write(body if upto is None else body[:upto])

    def answer(self, status: int, body: bytes = b"") -> None:
        """In the place of the server."""
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if self.method == "HEAD" else body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


class _Server(ThreadingHTTPServer):
    allow_reuse_port = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, proxy: FaultyProxy) -> None:
        self.proxy = proxy
        host, port = proxy.address.split(":")
        super().__init__((host, int(port)), Exchange)


# Faults


def hang(exchange: Exchange) -> None:
    """Says nothing until the fault is over, and then hangs up."""
    exchange.mended.wait(PATIENCE)


def slow(seconds: float) -> Fault:
    def fault(exchange: Exchange) -> None:
        exchange.mended.wait(seconds)
        exchange.forward()

    return fault


def says(status: int, code: str) -> Fault:
    """As MinIO words it, such as 503 SlowDown or 403 InvalidAccessKeyId."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>so it is</Message></Error>".encode()
    return lambda exchange: exchange.answer(status, body)


def cut(after: int) -> Fault:
    """Answers break off after so many bytes of their body."""
    return lambda exchange: exchange.forward(upto=after)


def deaf_afterwards(exchange: Exchange) -> None:
    """Has the server do what was asked for, and hangs up without a word."""
    exchange.wfile = io.BytesIO()
    exchange.forward()


def on(methods: str, fault: Fault) -> Fault:
    """The fault for requests of these methods; all others pass."""
    return lambda exchange: (fault if exchange.method in methods.split() else Exchange.forward)(exchange)


def first(times: int, fault: Fault, methods: str = "GET HEAD PUT POST DELETE") -> Fault:
    """The fault for so many requests of these methods; all others pass."""
    left = iter(range(times))
    lock = threading.Lock()

    def sometimes(exchange: Exchange) -> None:
        with lock:
            struck = next(left, None) is not None
        (fault if struck else Exchange.forward)(exchange)

    return on(methods, sometimes)

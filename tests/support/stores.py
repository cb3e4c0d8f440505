"""Object stores for tests: each adapter on something real, and an S3 server that can be told to fail."""

import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, BinaryIO, Self
from uuid import uuid4

from schemas.errors import StoreUnavailable
from turnstream.object_store.base import ObjectStore
from turnstream.object_store.memory import MemoryStore
from turnstream.object_store.minio import MinioStore

Environ = dict[str, Any]
App = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]
REAL_MINIO = "TURNSTREAM_TEST_MINIO"
"""The variable that names a real server for the contract: `host:port,access key,secret key`."""


class S3Server:
    """moto's S3 in a thread. `fault` may take a request's place: it gets (environ, start_response, the real application).

    Writes are let in one at a time: moto looks for the object and stores its own in two steps, so two conditional writes
    at once could both succeed there, as they cannot on a real server.
    """

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Handler(WSGIRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_request(self, *_: object) -> None:
                """Quiet."""

        self._moto: App = DomainDispatcherApplication(create_backend_app)
        self._writing = threading.Lock()
        self.fault: Callable[[Environ, Callable[..., Any], App], Iterable[bytes]] | None = None
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=Handler)
        self._server.daemon_threads = True  # type: ignore[attr-defined]
        self.endpoint = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if self.fault is not None:
            return self.fault(environ, start_response, self._serve)
        return self._serve(environ, start_response)

    def _serve(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in {"PUT", "POST"}:
            with self._writing:
                return list(self._moto(environ, start_response))
        return self._moto(environ, start_response)


def minio_store(
    endpoint: str, keys: tuple[str, str] = ("any", "any"), *, bucket: str = "", timeout: float = 10
) -> MinioStore:
    """A store in a bucket of its own."""
    return MinioStore(
        endpoint,
        access_key=keys[0],
        secret_key=keys[1],
        bucket=bucket or f"test-{uuid4().hex[:12]}",
        region="us-east-1",
        secure=False,
        timeout=timeout,
    )


def real_minio_store() -> MinioStore | None:
    """A store on the real server that the environment names."""
    value = os.environ.get(REAL_MINIO)
    if not value:
        return None
    endpoint, access_key, secret_key = value.split(",")
    return minio_store(endpoint, (access_key, secret_key), bucket="turnstream-contract")


@contextmanager
def deaf_port() -> Iterator[str]:
    """The address of a port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        yield f"{host}:{port}"


def closed_port() -> str:
    """The address of a port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
    return f"{host}:{port}"


def keys(store: ObjectStore, prefix: str = "", start_after: str | None = None) -> list[str]:
    return [info.key for info in store.list(prefix, start_after=start_after)]


def read(opened: AbstractContextManager[BinaryIO]) -> bytes:
    with opened as stream:
        return stream.read()


class WatchedStore(MemoryStore):
    """Remembers each change, and refuses those after the first `allowed`."""

    def __init__(self, allowed: int = 1000) -> None:
        super().__init__()
        self.changes: list[str] = []
        self.allowed = allowed

    def _note(self, change: str) -> None:
        if len(self.changes) >= self.allowed:
            raise StoreUnavailable(f"no more after {self.allowed} changes")
        self.changes.append(change)

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        self._note(f"put {key}")
        super().put(key, data, if_absent=if_absent)

    def delete(self, key: str) -> None:
        self._note(f"delete {key}")
        super().delete(key)


class RacedStore(MemoryStore):
    """Before its change number `moment`, counted from 0, somebody else does what `rival` does."""

    def __init__(self, moment: int, rival: Callable[[ObjectStore], None]) -> None:
        super().__init__()
        self._left = moment
        self._rival: Callable[[ObjectStore], None] | None = rival

    def _change(self) -> None:
        if self._left == 0 and self._rival is not None:
            rival, self._rival = self._rival, None
            rival(self)
        self._left -= 1

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        self._change()
        super().put(key, data, if_absent=if_absent)

    def delete(self, key: str) -> None:
        self._change()
        super().delete(key)

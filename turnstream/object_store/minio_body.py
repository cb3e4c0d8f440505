"""An object on its way from an S3 server."""

import io
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from urllib3 import exceptions as http
from urllib3.response import BaseHTTPResponse

from turnstream.object_store import minio_errors

if TYPE_CHECKING:
    from typing_extensions import Buffer  # collections.abc has it from Python 3.12 on

PAUSES = (0.2, 0.4)
"""Seconds before the rest of a broken body is asked for, the first time and the second; then it is given up."""


class Body(io.RawIOBase):
    """An answer's body. Where the connection breaks, the rest comes with another request; failures are the port's."""

    def __init__(
        self, where: str, key: str, response: BaseHTTPResponse, rest: Callable[[int], BaseHTTPResponse]
    ) -> None:
        """`rest` asks for the same object from so many bytes on; it raises what the port may raise."""
        self._where, self._key = where, key
        self._response, self._rest = response, rest
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "Buffer", /) -> int:
        view = memoryview(buffer)
        with minio_errors.translated(self._where, self._key):
            data = self._read(len(view))
        view[: len(data)] = data
        self._count += len(data)
        return len(data)

    def _read(self, size: int) -> bytes:
        for pause in PAUSES:
            try:
                return self._response.read(size)
            except http.HTTPError:
                self._let_go()
            time.sleep(pause)
            self._response = self._rest(self._count)
        return self._response.read(size)

    def close(self) -> None:
        self._let_go()
        super().close()

    def _let_go(self) -> None:
        self._response.close()
        self._response.release_conn()

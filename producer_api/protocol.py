"""HTTP as uvicorn speaks it, but for the answer to what is none."""

import http
import sys

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from producer_api.problems import problem
from schemas.errors import HeadersTooLarge, RequestMalformed


class Protocol(H11Protocol):
    def send_400_response(self, msg: str) -> None:
        """Called for what cannot be read as HTTP, before any route or middleware is asked."""
        error = sys.exception()
        too_large = isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == HeadersTooLarge.status
        answer = problem((HeadersTooLarge if too_large else RequestMalformed)(), "*", {"Connection": "close"})
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:  # else it was answered, and the rest came broken
            reason = http.HTTPStatus(answer.status_code).phrase.encode()
            head = h11.Response(status_code=answer.status_code, headers=answer.raw_headers, reason=reason)
            for event in (head, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

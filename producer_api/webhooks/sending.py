"""One try to deliver: a single request to an address that was checked, whose answer is read as far as its status."""

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus

import httpx

from producer_api.webhooks.guard import Address, Guard, Target
from producer_api.webhooks.lookups import Lookups, Resolve, resolved
from producer_api.webhooks.signing import Signer
from schemas.errors import Busy, WebhookRefused
from schemas.webhooks import WebhookAttempt
from turnstream import __version__
from turnstream.retry_after import read_retry_after

log = logging.getLogger("turnstream.webhooks")

TOTAL_LIMIT = 15.0
"""Seconds a try may take in all, the resolution of the name included."""
CONNECT_LIMIT = 5.0
ADDRESSES_TRIED = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a try: a `status`, or why there is none."""

    attempt: WebhookAttempt
    retry_after: float = 0.0
    """Seconds that the receiver asks for."""
    refused: bool = False
    """The guard let nothing go out."""

    @property
    def outcome(self) -> str:
        """In one word."""
        if self.refused:
            return "refused"
        if self.attempt.status is None:
            return "unanswered"
        return "delivered" if self.delivered else "declined"

    @property
    def delivered(self) -> bool:
        return self.attempt.status is not None and 200 <= self.attempt.status < 300

    @property
    def gone(self) -> bool:
        """The receiver wants no more."""
        return self.attempt.status == HTTPStatus.GONE


class Sender:
    """Every request has a connection of its own: one that was checked for a name is never used for another.

    There is no client above the transport, so neither cookies nor redirects nor proxies from the environment.
    """

    def __init__(self, guard: Guard, signer: Signer, resolve: Resolve = resolved) -> None:
        self._guard = guard
        self._signer = signer
        self._lookups = Lookups(resolve)
        self._transport = httpx.AsyncHTTPTransport(
            verify=httpx.create_ssl_context(),  # of certifi, or of SSL_CERT_FILE
            trust_env=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )

    async def send(self, url: str, id_: str, body: str) -> Answer:
        """POST a body that is signed now. Raises Busy where nothing can be tried."""
        at, began = datetime.now(UTC), time.monotonic()
        error, status, wait, refused = None, None, 0.0, False
        try:
            async with asyncio.timeout(TOTAL_LIMIT):
                status, asked = await self._post(self._guard.check(url), self._signer.headers(id_, at, body), body)
                wait = read_retry_after(asked, at) or 0.0
        except WebhookRefused as caught:
            error, refused = caught.detail, True
        except Busy:
            raise  # before anything was tried
        except TimeoutError:
            error = f"no answer within {TOTAL_LIMIT:g} s"
        except httpx.TimeoutException as caught:
            error = f"too slow: {type(caught).__name__}"
        except (OSError, httpx.TransportError) as caught:
            error = f"no connection: {caught or type(caught).__name__}"[:300]
        except Exception as caught:  # a try that breaks as nobody thought of is one of ten, and not made for ever
            log.exception("the webhook %s could not be sent", id_)
            error = f"not sent: {type(caught).__name__}"
        attempt = WebhookAttempt(at=at, seconds=round(time.monotonic() - began, 3), status=status, error=error)
        return Answer(attempt, wait, refused)

    async def close(self) -> None:
        self._lookups.close()
        await self._transport.aclose()

    async def _post(self, target: Target, headers: dict[str, str], body: str) -> tuple[int, str | None]:
        """The status, and Retry-After. Resolves the name once. Raises Busy, and WebhookRefused where it leads inside."""
        addresses = [target.literal] if target.literal else await self._lookups.addresses(target.host)
        self._guard.require_open(addresses)
        if not addresses:
            raise OSError(f"{target.host} has no address")
        *others, last = addresses[:ADDRESSES_TRIED]
        for address in others:
            with suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return await self._post_to(address, target, headers, body)
        return await self._post_to(last, target, headers, body)

    async def _post_to(
        self, address: Address, target: Target, headers: dict[str, str], body: str
    ) -> tuple[int, str | None]:
        fixed = {
            "host": target.origin,
            "user-agent": f"turnstream/{__version__}",
            "content-type": "application/json",
            "connection": "close",
        }
        limits = httpx.Timeout(TOTAL_LIMIT, connect=CONNECT_LIMIT).as_dict()
        # The certificate is checked against the name, although it is the address that is connected to.
        name = {} if target.literal else {"sni_hostname": target.host}
        request = httpx.Request(
            "POST",
            httpx.URL(scheme=target.scheme, host=str(address), port=target.port, raw_path=target.path.encode()),
            headers=fixed | headers,
            content=body.encode(),
            extensions={"timeout": limits} | name,
        )
        response = await self._transport.handle_async_request(request)
        await response.aclose()  # what it says besides is not read
        return response.status_code, response.headers.get("retry-after")

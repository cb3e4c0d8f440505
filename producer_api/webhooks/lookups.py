"""Who a name is: each is looked up once at a time, however many want to know."""

import asyncio
import socket
from collections.abc import Callable
from ipaddress import ip_address

from producer_api.threads import Threads
from producer_api.webhooks.guard import Address
from producer_api.webhooks.lanes import AT_ONCE
from schemas.errors import Busy

MAX_LOOKUPS = 2 * AT_ONCE
"""Names at once: a lookup cannot be broken off, so behind a name server that is silent it outlives the try that began it."""

Resolve = Callable[[str], list[Address]]
"""The addresses of a host. Blocks; raises OSError where it has none."""


def resolved(host: str) -> list[Address]:
    """As this machine has it."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(address[4][0]) for address in found))


class Lookups:
    """A name whose lookup hangs holds one thread, and there is one for every other name."""

    def __init__(self, resolve: Resolve = resolved) -> None:
        self._resolve = resolve
        self._threads = Threads(MAX_LOOKUPS)
        self._under_way: dict[str, asyncio.Task[list[Address]]] = {}

    async def addresses(self, host: str) -> list[Address]:
        """Raises OSError where it has none, and Busy where nobody can be asked now."""
        lookup = self._under_way.get(host) or self._begin(host)
        return await asyncio.shield(lookup)  # who gives up takes nothing from the others

    def close(self) -> None:
        for lookup in self._under_way.values():
            lookup.cancel()
        self._threads.close()

    def _begin(self, host: str) -> asyncio.Task[list[Address]]:
        if len(self._under_way) >= MAX_LOOKUPS:
            raise Busy(f"{MAX_LOOKUPS} names are being looked up")
        self._under_way[host] = lookup = asyncio.create_task(self._threads.run(self._resolve, host))
        lookup.add_done_callback(lambda lookup: self._end(host, lookup))
        return lookup

    def _end(self, host: str, lookup: asyncio.Task[list[Address]]) -> None:
        del self._under_way[host]
        if not lookup.cancelled():
            lookup.exception()  # there may be nobody left to hear of it

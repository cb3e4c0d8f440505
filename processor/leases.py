"""Which runs this worker has open, said in the store: whoever else gets the record of one waits for us, or for our death.

The lease of a run stands beside the count of its tries and is renewed every third of its length. A store that is away delays
that, and a lease may be lost so: the job goes on all the same, as only one worker can claim its end. The clocks of the workers
must agree to within a part of the length.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from processor.persistence import persistently
from schemas.errors import InfrastructureError
from schemas.jobs import JobKey
from turnstream.records import Attempts, Records

logger = logging.getLogger(__name__)


def now() -> datetime:
    """By which leases are counted."""
    return datetime.now(UTC)


@dataclass(slots=True)
class _Lease:
    tried: Attempts
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)


class Leases:
    def __init__(self, records: Records, instance: str, length: float, lost: Callable[[JobKey], None]) -> None:
        """`length` in seconds. `lost` hears of a run that another worker has opened meanwhile."""
        self._records = records
        self._length = length
        self._lost = lost
        self._worker = f"{instance}/{secrets.token_hex(6)}"
        self._leases: dict[JobKey, _Lease] = {}

    async def take(self, id: JobKey, tried: Attempts) -> None:
        """Say that we are about to open a run, for so many times with this try."""
        await self.let_go(id)
        await persistently(f"count a try of {id[0]}", lambda: asyncio.to_thread(self._put, id, tried))
        self._leases[id] = _Lease(tried)

    async def let_go(self, id: JobKey) -> None:
        """Renew no more. Once this returns nothing more is written: what of the run is erased now stays erased."""
        lease = self._leases.pop(id, None)
        if lease is not None:
            async with lease.writing:
                pass

    def abandon(self, id: JobKey) -> None:
        """Renew no more: whoever gets the run next waits until the lease has ended."""
        self._leases.pop(id, None)

    async def give_back(self, id: JobKey, tries: int = 0) -> None:
        """Have the run be nobody's, and so many of its tries not count, unless it is another worker's by now."""
        await self.let_go(id)
        await persistently(f"give {id[0]} back", lambda: asyncio.to_thread(self._clear, id, tries))

    async def renew_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._length / 3)
            await self.renew()

    async def renew(self) -> None:
        """All leases at once."""
        await asyncio.gather(*(self._renew(id, lease) for id, lease in self._leases.items()))

    async def _renew(self, id: JobKey, lease: _Lease) -> None:
        async with lease.writing:
            if self._leases.get(id) is not lease:
                return
            try:
                ours = await asyncio.to_thread(self._prolong, id, lease.tried)
            except InfrastructureError as error:
                logger.warning("the lease of %s cannot be renewed yet: %s", id[0], error)
                return
            if ours or self._leases.get(id) is not lease:
                return
            del self._leases[id]
        logger.warning("%s was opened by another worker while this one was not heard of", id)
        self._lost(id)

    # In a thread

    def _put(self, id: JobKey, tried: Attempts) -> None:
        until = now() + timedelta(seconds=self._length)
        self._records.put_attempts(*id, tried.model_copy(update={"worker": self._worker, "until": until}))

    def _prolong(self, id: JobKey, tried: Attempts) -> bool:
        """False where another worker has taken it. One that is nobody's was erased, and nothing of it may come back."""
        worker = self._records.attempts(*id).worker
        if worker == self._worker:
            self._put(id, tried)
        return worker in {self._worker, None}

    def _clear(self, id: JobKey, tries: int) -> None:
        tried = self._records.attempts(*id)
        if tried.worker == self._worker:
            nobodys = {"count": max(0, tried.count - tries), "worker": None, "until": None}
            self._records.put_attempts(*id, tried.model_copy(update=nobodys))

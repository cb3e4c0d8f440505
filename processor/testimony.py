"""Whether the end of a run was told, by its witnesses: records that only the telling settles.

They are named before the end is told. The mark of a run is no proof: it moves with retries and with what is published again.
docs/decisions/0014-exactly-one-event.md has the reasons.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from processor.held import Held
from processor.outbox import Outbox
from processor.persistence import persistently
from processor.topic_ids import TopicIds
from turnstream.bus.base import Position
from turnstream.records import Damaged, Ending, Records, Witness, Witnesses

T = TypeVar("T")


class Testimony:
    def __init__(self, records: Records, outbox: Outbox, topic_ids: TopicIds) -> None:
        self._records = records
        self._outbox = outbox
        self._topic_ids = topic_ids

    async def at_once(self, held: Held) -> Witnesses:
        """Those that can be named while the broker may be away, for whoever stores the end."""
        return await self._witnesses(held, self._topic_ids.at_once)

    async def complete(self, held: Held, ending: Ending) -> None:
        """Name those that the end does not: somebody else stored it, or they came later."""
        for witness in await self._witnesses(held, self._topic_ids):
            if witness not in ending.witnesses:
                await self._in_thread(held, self._add, *held.id, witness)

    async def told(self, held: Held) -> bool:
        for witness in await self._in_thread(held, self._believable, held):
            at = Position(witness.topic, witness.partition, witness.offset)
            if witness.topic_id == await self._topic_ids(witness.topic) and await self._outbox.settled(at):
                return True
        return False

    async def _witnesses(self, held: Held, topic_id: Callable[[str], Awaitable[str | None]]) -> Witnesses:
        """Of the records of the run those that are still to be settled, as far as is known here."""
        found: list[Witness] = []
        for receipt in tuple(held.receipts):
            at = receipt.position
            if receipt.holds and not await self._outbox.settled(at) and (id := await topic_id(at.topic)) is not None:
                found.append(Witness.at(at.topic, id, at.partition, at.offset, held.retries))
        return tuple(found)

    def _add(self, job_id: str, run: str, witness: Witness) -> None:
        """Blocks. Of a job that was erased meanwhile nothing stays."""
        self._records.add_witness(job_id, run, witness)
        if not self._records.has_job(job_id):
            self._records.erase(job_id)

    def _believable(self, held: Held) -> list[Witness]:
        """Those that no retry has settled. Blocks."""
        try:
            mark = self._records.mark(*held.id)
        except Damaged:
            mark = None
        retries = max(held.retries, mark.attempt if mark is not None else 0)
        return [each for each in self._records.witnesses(*held.id) if each.attempt >= retries]

    @staticmethod
    async def _in_thread(held: Held, call: Callable[..., T], *args: object) -> T:
        what = f"look for witnesses of {held.job.id}"
        return await persistently(what, lambda: asyncio.to_thread(call, *args))

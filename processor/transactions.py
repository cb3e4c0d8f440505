"""The transactions of one partition: what its records asked for and the offsets of these records, committed together."""

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, cast

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.errors import NodeNotReadyError, for_code
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.structs import OffsetAndMetadata

from processor.finished import Finished
from processor.outbox import Message, Placed
from schemas.topics import DEAD_LETTER_LIMIT
from turnstream import points
from turnstream.bus.base import Position

logger = logging.getLogger(__name__)

TRANSACTION_TIMEOUT = 15.0
"""Seconds after which the broker aborts a transaction that nobody ends. Until then whoever reads only what is committed does
not get past it: so it is not much longer than the limit on this side.
"""
REQUEST_TIMEOUT = 8.0
CLOSE_LIMIT = 2.0
BATCH = 512 << 10
"""Bytes of messages that go to a partition in one request."""


@dataclass(frozen=True, slots=True)
class Place:
    """A partition, as the group that works on it knows it."""

    bootstrap: str
    group: str
    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


class Told(Protocol):
    @property
    def messages(self) -> Sequence[Message]: ...

    @property
    def placed(self) -> Placed | None: ...


class Transactions:
    """Opened, used for one transaction after the other, and closed after the first error: only another one knows what became of
    the last transaction. Every call may raise what aiokafka raises, and lasts as long as its caller lets it.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._producer = AIOKafkaProducer(
            bootstrap_servers=place.bootstrap,
            client_id=f"{place.group}-{place}",
            # One for each partition, not for each worker: whoever takes a partition over ends the transactions of the one before.
            transactional_id=f"{place.group}-{place.topic}-{place.partition}",
            transaction_timeout_ms=int(TRANSACTION_TIMEOUT * 1000),
            request_timeout_ms=int(REQUEST_TIMEOUT * 1000),
            max_request_size=DEAD_LETTER_LIMIT + (1 << 20),
            max_batch_size=BATCH,
        )

    async def open(self) -> Finished:
        """From now on no other producer of this partition commits anything. Returns what is finished.

        A plain OffsetFetch is right for that although it does not see transactions that are under way: the broker lets a
        producer begin only when the last transaction of its id is committed or aborted for good, and no other id commits
        offsets of this partition.
        """
        await self._producer.start()
        client, place = self._producer.client, self._place
        node = await client.coordinator_lookup(CoordinationType.GROUP, place.group)
        if not await client.ready(node, group=ConnectionGroup.COORDINATION):
            raise NodeNotReadyError(f"the coordinator of {place.group}")
        request = OffsetFetchRequest(place.group, [(place.topic, [place.partition])])
        answer: Any = await client.send(node, request, group=ConnectionGroup.COORDINATION)
        ((_, ((_, offset, metadata, code),)),) = answer.topics
        for each in (getattr(answer, "error_code", 0), code):
            if each:
                raise for_code(each)()
        return Finished.read(offset, metadata or "") if offset >= 0 else Finished()

    async def commit(self, told: Sequence[Told], finished: Finished) -> None:
        place = self._place
        await self._producer.begin_transaction()
        points.passing("transaction.begun")
        sent = [[await self._send(message) for message in each.messages] for each in told]
        await asyncio.gather(*(future for futures in sent for future in futures))
        points.passing("transaction.sent")
        placing = [
            each.placed([await _position(future) for future in futures])
            for each, futures in zip(told, sent, strict=True)
            if each.placed is not None
        ]
        await asyncio.gather(*placing)
        offset = OffsetAndMetadata(finished.frontier, finished.metadata)
        await self._producer.send_offsets_to_transaction(
            {TopicPartition(place.topic, place.partition): offset}, place.group
        )
        points.passing("transaction.offsets")
        await self._producer.commit_transaction()
        points.passing("transaction.committed")

    async def close(self) -> None:
        """Whatever state it is in; a transaction that is under way is aborted, if the broker can be reached."""
        try:
            await self._close()
        finally:
            ended: Any = cast(Any, self._producer)._txn_manager.wait_for_transaction_end()
            if ended is not None and ended.done() and not ended.cancelled():
                ended.exception()  # or asyncio complains that nobody asked for it

    async def _close(self) -> None:
        with suppress(Exception):
            async with asyncio.timeout(CLOSE_LIMIT):
                await self._producer.abort_transaction()  # raises where none is under way
        with suppress(Exception):
            async with asyncio.timeout(CLOSE_LIMIT):
                await self._producer.stop()  # which waits for a broker that is away
                return
        sender: Any = self._producer._sender  # pyright: ignore[reportPrivateUsage]
        with suppress(Exception):
            async with asyncio.timeout(CLOSE_LIMIT):
                await self._producer.client.close()  # so that nothing of it waits for an answer any more
                await sender.close()

    async def _send(self, message: Message) -> Awaitable[Any]:
        where = {"topic": message.topic, "partition": message.partition}
        if message.key is not None or message.value is not None:
            return await self._producer.send(
                **where, key=message.key, value=message.value, headers=list(message.headers)
            )
        batch = self._producer.create_batch()  # `send` refuses a record that is nothing but headers
        batch.append(timestamp=None, key=None, value=None, headers=list(message.headers))
        batch.close()
        return await self._producer.send_batch(batch, **where)


async def _position(sent: Awaitable[Any]) -> Position:
    at = await sent
    return Position(at.topic, at.partition, at.offset)

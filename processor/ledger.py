"""What is told and settled of one partition under one assignment: one transaction after the other, each for all that waits."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from aiokafka.errors import (
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    KafkaError,
    KafkaTimeoutError,
    ProducerFenced,
    TransactionCoordinatorFenced,
)

from processor import persistence
from processor.finished import SPAN, Finished
from processor.outbox import Message, Placed
from processor.receipts import Receipt
from processor.transactions import Transactions
from schemas.errors import InfrastructureError

logger = logging.getLogger(__name__)

ATTEMPT_LIMIT = 10.0
"""Seconds a transaction may take, the time in which marks are moved included."""
OPEN_LIMIT = 20.0
"""Seconds to get a producer; the transaction of one before may have to end first."""
MAX_FAILURES = 6
"""In a row, that are not a broker out of reach: then the worker is started anew."""
GROUP, GROUP_BYTES = 256, 4 << 20
"""What one transaction takes at most of what waits; a letter that is larger goes alone."""
FENCED = (ProducerFenced, InvalidProducerEpoch, InvalidProducerIdMapping, TransactionCoordinatorFenced)


@dataclass(eq=False)
class Letter:
    """What is to be told, and of which records; nothing of none asks only what is settled."""

    messages: Sequence[Message] = ()
    receipts: Sequence[Receipt] = ()
    placed: Placed | None = None
    told: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def size(self) -> int:
        return sum(len(message.value or b"") + 256 for message in self.messages)


class Ledger:
    def __init__(
        self,
        name: str,
        connect: Callable[[], Transactions],
        heartbeat: float,
        still_there: Callable[[], Awaitable[bool]],
    ) -> None:
        """`name`: of the partition, for the log. `heartbeat`: seconds in which an assignment that is over is noticed.
        `still_there`: whether the topic is the one that the records came of.
        """
        self._name = name
        self._connect = connect
        self._heartbeat = heartbeat
        self._still_there = still_there
        self._gone = False
        self._transactions: Transactions | None = None
        self._finished: Finished | None = None
        self._waiting: list[Letter] = []
        self._turn = False
        """Whether it is that of the letters without `placed`."""
        self._work: asyncio.Task[None] | None = None

    async def settled(self, offset: int) -> bool:
        if self._finished is None:
            await self._through(Letter())
        return self._finished is not None and offset in self._finished

    async def settle(self, messages: Sequence[Message], receipts: Sequence[Receipt], placed: Placed | None) -> bool:
        """As `Outbox.send`, of one partition. Raises after too many failures."""
        return await self._through(Letter(messages, receipts, placed))

    async def close(self, limit: float) -> None:
        """What is under way has that many seconds to end."""
        if self._work is not None:
            await asyncio.wait([self._work], timeout=limit)
            self._work.cancel()
            await asyncio.wait([self._work], timeout=limit)
        for letter in tuple(self._waiting):
            self._answer(letter, False)
        await self._disconnect()

    async def _through(self, letter: Letter) -> bool:
        self._waiting.append(letter)
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._tell_all())
            self._work.add_done_callback(self._ended)
        return await letter.told

    async def _tell_all(self) -> None:
        """Until nothing waits, or only what has no room."""
        failures, delays = 0, persistence.delays()
        while self._to_be_told():
            try:
                if not await self._tell_some():
                    break
                failures, delays = 0, persistence.delays()
            except Exception as error:
                failures = 0 if _passes(error) else failures + 1
                await self._disconnect()
                if failures == MAX_FAILURES:
                    self._give_up(error)
                    return
                # Somebody else is at our partition: by then we have heard whether it still is ours.
                delay = max(next(delays), 1.5 * self._heartbeat if isinstance(error, FENCED) else 0.0)
                logger.warning("%s: not committed, trying again in %.1f s: %r", self._name, delay, error)
                await asyncio.sleep(delay)

    async def _tell_some(self) -> bool:
        """One transaction. False where nothing that waits has room."""
        if self._transactions is None:
            self._transactions = self._connect()
            async with asyncio.timeout(OPEN_LIMIT):
                self._finished = await self._transactions.open()
                # Who connects anew may find a broker that lost everything: offsets of the records before mean nothing there.
                if not await self._still_there():
                    self._gone, self._finished = True, None
        letters = self._to_be_told()
        if not letters:
            return True
        letters, finished = self._next(letters)
        if letters:
            async with asyncio.timeout(ATTEMPT_LIMIT):
                await self._transactions.commit(letters, finished)
            self._finished = finished
        for letter in letters:
            self._answer(letter, True)
        return bool(letters)

    def _to_be_told(self) -> list[Letter]:
        """Those that wait and are still ours to tell; the others are answered."""
        for letter in tuple(self._waiting):
            if self._gone:
                self._answer(letter, False)
            elif letter.receipts or letter.messages:
                letter.receipts = [each for each in letter.receipts if each.holds and not self.knows(each)]
                if not letter.receipts:
                    self._answer(letter, False)
            elif self._finished is not None:
                self._answer(letter, True)
        return list(self._waiting)

    def knows(self, receipt: Receipt) -> bool:
        """Whether it is settled, as far as is known here."""
        return self._finished is not None and receipt.position.offset in self._finished

    def _next(self, letters: list[Letter]) -> tuple[list[Letter], Finished]:
        """What goes into the next transaction. Those that wait for the store within it go apart from the others, by turns: a
        store that hangs keeps no end from being told.
        """
        kinds = [[letter for letter in letters if (letter.placed is None) is plain] for plain in (True, False)]
        self._turn = not self._turn
        for kind in sorted(filter(None, kinds), key=lambda kind: (kind[0].placed is None) is not self._turn):
            chosen, finished = self._with_room(kind)
            if chosen:
                return chosen, finished
        assert self._finished is not None  # noqa: S101
        return [], self._finished

    def _with_room(self, letters: list[Letter]) -> tuple[list[Letter], Finished]:
        """As many as one transaction takes and the commit can name, and what is finished with them."""
        assert self._finished is not None  # noqa: S101
        sizes = 0

        def small(letter: Letter) -> bool:
            nonlocal sizes
            sizes += letter.size
            return sizes <= GROUP_BYTES

        # The first of the partition make room for the others.
        letters = sorted(letters, key=lambda letter: letter.receipts[0].position.offset)
        letters = list(takewhile(small, letters[:GROUP])) or letters[:1]
        frontier = letters[0].receipts[0].frontier
        before = self._finished.moved(frontier(self._finished))
        while True:
            after = before.including([each.position.offset for letter in letters for each in letter.receipts])
            after = after.moved(frontier(after))
            if after.fits:
                return letters, after
            last = after.frontier + SPAN
            letters = [letter for letter in letters if all(each.position.offset < last for each in letter.receipts)]

    def _answer(self, letter: Letter, told: bool) -> None:
        self._waiting.remove(letter)
        if not letter.told.done():  # else whoever asked was cancelled
            letter.told.set_result(told)

    def _ended(self, work: asyncio.Task[None]) -> None:
        if not work.cancelled() and (error := work.exception()) is not None:
            self._give_up(error)  # not foreseen: nobody may wait for ever

    def _give_up(self, error: BaseException) -> None:
        for letter in self._waiting:
            if not letter.told.done():
                letter.told.set_exception(error)
        self._waiting.clear()

    async def _disconnect(self) -> None:
        transactions, self._transactions = self._transactions, None
        if transactions is not None:
            await transactions.close()


def _passes(error: Exception) -> bool:
    """Whether it is the broker that cannot be reached, or is not ready yet."""
    return isinstance(error, TimeoutError | OSError | KafkaTimeoutError | InfrastructureError) or (
        isinstance(error, KafkaError) and error.retriable
    )

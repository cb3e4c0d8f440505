"""What of Faust's Kafka transport has to be different (beside `processor.app` the only module that knows Faust)."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, cast

from aiokafka.errors import UnknownMemberIdError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP


class ConsumerThread(driver.AIOKafkaConsumerThread):
    async def on_start(self) -> None:
        await super().on_start()
        commit_only_as(lambda: cast(Consumer, self.consumer).committing_as, self.coordinator)

    @property
    def coordinator(self) -> Any:
        return cast(Any, self._ensure_consumer())._coordinator

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer: Any = super()._create_worker_consumer(transport)
        if transport.fetch_max_wait_ms is not None:
            # Faust fixes this at 1500 ms. Apache Kafka answers a waiting fetch at once; the embedded broker does not.
            consumer._fetch_max_wait_ms = transport.fetch_max_wait_ms
        if transport.transactional:
            consumer._isolation_level = "read_committed"  # retries come back to the topic of jobs in transactions, too
        return consumer

    async def seek_to_committed(self) -> Mapping[TP, int]:
        return await self.call_thread(seek_to_committed, self._ensure_consumer())

    async def on_thread_stop(self) -> None:
        consumer: Any = self._consumer
        if cast(Transport, self.transport).leaving and consumer is not None:
            # A member with a fixed place does not say that it goes, as it is expected back. This one is not.
            consumer._coordinator._group_instance_id = None
        await super().on_thread_stop()


async def seek_to_committed(consumer: Any) -> Mapping[Any, int]:
    """Have the consumer read again what is not committed, of every partition that it has.

    aiokafka's own leaves a partition where it is of which nothing is committed yet: what was fetched of it and dropped, because
    the group changed at that moment, would never come again.
    """
    committed: Mapping[Any, int] = await consumer.seek_to_committed()
    beginning = [tp for tp, offset in committed.items() if not offset or offset < 0]
    if beginning:
        await consumer.seek_to_beginning(*beginning)
    return committed


def commit_only_as(member: Callable[[], str], coordinator: Any) -> None:
    """Have aiokafka's coordinator commit nothing while it is somebody else in the group than `member`.

    It asks the broker again and again, and as whoever it is by then. A broker that was started anew, empty, would take offsets of
    topics that are gone for those of the new ones, whose first records nobody would read.
    """
    commit = coordinator._do_commit_offsets

    async def as_member(assignment: Any, offsets: Any) -> None:
        if not coordinator.member_id or coordinator.member_id != member():
            raise UnknownMemberIdError(coordinator.group_id)
        await commit(assignment, offsets)

    coordinator._do_commit_offsets = as_member


class Consumer(driver.Consumer):
    """Acknowledges what the worker is done with, and nothing else.

    Faust acknowledges by itself what its streams skip around a rebalance, and would commit past a job that is open.
    """

    member = committing_as = ""
    """Who we were in the group when we were given the partitions that we have; and when the present commit began."""

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def ack(self, message: Any) -> bool:
        del message
        return False

    def finish(self, message: Any) -> bool:
        """Make a message committable. One of an assignment that is over is left: it comes again."""
        if message.generation_id != self.app.consumer_generation_id:
            return False
        return super().ack(message)

    def begin(self) -> None:
        """An assignment begins: what was acknowledged under another one is not ours to commit."""
        self.member = cast(ConsumerThread, self._thread).coordinator.member_id
        for known in (self._acked, self._acked_index, self._committed_offset):
            known.clear()

    async def force_commit(self, *args: Any, **options: Any) -> bool:
        self.committing_as = self.member
        return await super().force_commit(*args, **options)

    async def _commit(self, offsets: Any) -> bool:
        # With transactions the offsets are committed by these; whatever Faust wants to commit, it believes it did.
        return cast(Transport, self.transport).transactional or await super()._commit(offsets)

    def lags(self) -> dict[TP, int]:
        """Records of our partitions that the broker has and that were not fetched, as far as the last fetch told.

        Unlike the offset of what was read the position steps over markers of transactions, and over what was aborted.
        """
        with suppress(Exception):  # between two assignments nothing can be said
            consumer: Any = cast(Any, self._thread)._ensure_consumer()
            assigned = consumer._subscription.subscription.assignment
            states = {TP(tp.topic, tp.partition): assigned.state_value(tp) for tp in assigned.tps}
            return {tp: max(0, (state.highwater or 0) - (state._position or 0)) for tp, state in states.items()}
        return {}


class Transport(driver.Transport):
    Consumer = Consumer
    fetch_max_wait_ms: int | None = None
    transactional = False
    """Offsets are committed elsewhere, and what is read are committed records."""
    leaving = False
    """Whoever stops now does not come back soon: the others are to take over at once."""

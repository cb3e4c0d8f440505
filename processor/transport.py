"""What of Faust's Kafka transport has to be different (beside `processor.app` the only module that knows Faust)."""

from contextlib import suppress
from typing import Any, cast

from faust.transport.drivers import aiokafka as driver
from faust.types import TP


class ConsumerThread(driver.AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        if transport.fetch_max_wait_ms is not None:
            # Faust fixes this at 1500 ms. Apache Kafka answers a waiting fetch at once; the embedded broker does not.
            consumer._fetch_max_wait_ms = transport.fetch_max_wait_ms  # pyright: ignore[reportPrivateUsage]
        return consumer


class Consumer(driver.Consumer):
    """Acknowledges what the worker is done with, and nothing else.

    Faust acknowledges by itself what its streams skip around a rebalance, and would commit past a job that is open.
    """

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

    def lags(self, tp: TP) -> bool:
        """Whether the broker has records that have not arrived here, as far as the last fetch told."""
        with suppress(Exception):  # between two assignments nothing can be said
            read = self._read_offset.get(tp)
            return (self.highwater(tp) or 0) > (0 if read is None else read + 1)
        return False

    def lag(self) -> int:
        """Records of our partitions that the broker has and that were not fetched, as far as the last fetch told.

        Unlike the offset of what was read the position steps over markers of transactions, and over what was aborted.
        """
        with suppress(Exception):  # as above
            consumer: Any = cast(Any, self._thread)._ensure_consumer()
            assigned = consumer._subscription.subscription.assignment
            states = [assigned.state_value(tp) for tp in assigned.tps]
            return sum(max(0, (state.highwater or 0) - (state._position or 0)) for state in states)
        return 0


class Transport(driver.Transport):
    Consumer = Consumer
    fetch_max_wait_ms: int | None = None

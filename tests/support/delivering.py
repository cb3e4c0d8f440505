"""A delivery whose steps are written down, and may be refused one by one."""

from processor.at_least_once import AtLeastOnce
from processor.delivery import Delivery
from processor.held import Held, read
from processor.metrics import Metrics
from processor.receipts import Receipt, Receipts
from schemas.errors import BrokerUnavailable, StoreUnavailable
from schemas.events import Event
from schemas.jobs import JobState
from schemas.results import DiarizationResult
from schemas.topics import Layout
from tests.support.worker import FreeFlow, accept, finished, job_event, new_job, record_of
from turnstream.bus.base import Position, Record
from turnstream.bus.memory import MemoryBus
from turnstream.object_store.base import exists
from turnstream.object_store.memory import MemoryStore
from turnstream.operations import installed
from turnstream.records import Records
from turnstream.settings import BrokerKind

LAYOUT = Layout().including(installed())


class Killed(BaseException):
    """The process dies here."""


class Steps(list[str]):
    """The steps in the order they were taken; refuses the next ones as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.kill_before: int | None = None
        self.failures = 0

    def take(self, name: str, failure: type[Exception]) -> None:
        if self.kill_before == len(self):
            raise Killed
        if self.failures:
            self.failures -= 1
            raise failure("away")
        self.append(name)


class SteppedStore(MemoryStore):
    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self.steps = steps
        self.armed = False

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        if self.armed and not (if_absent and exists(self, key)):  # else nothing is stored
            self.steps.take(f"store {key.rsplit('/', 1)[-1]}", StoreUnavailable)
        super().put(key, data, if_absent=if_absent)

    def delete(self, key: str) -> None:
        if self.armed:
            self.steps.take(f"remove {key.split('/', 1)[0]}", StoreUnavailable)
        super().delete(key)


class SteppedBus(MemoryBus):
    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self.steps = steps

    async def publish(self, topic: str, **record) -> Position:
        self.steps.take(f"publish {topic}", BrokerUnavailable)
        return await super().publish(topic, **record)


class Bench:
    """One job on its way out, on a store and a bus that write down what happens."""

    def __init__(self, broker: BrokerKind = BrokerKind.EMBEDDED) -> None:
        self.steps = Steps()
        self.store = SteppedStore(self.steps)
        self.bus = SteppedBus(self.steps)
        self.records = Records(self.store)
        self.job = accept(self.records, new_job())
        self.id = (self.job.id, "live")
        self.event = job_event(self.job)
        self.store.armed = True
        self.broker = broker

    def receipt(self, record: Record) -> Receipt:
        return Receipts(FreeFlow(), 8).take(record.position, lambda: self.steps.take("ack", StoreUnavailable))

    def held(self) -> Held:
        """The job event as a worker gets it, for the first or another time."""
        held = read(record_of(self.event, offset=5), installed())
        held.receipts.append(self.receipt(held.record))
        return held

    @property
    def delivery(self) -> Delivery:
        return Delivery(self.records, self.bus, AtLeastOnce(self.bus), LAYOUT, installed(), self.broker, Metrics())

    async def end(self, outcome) -> JobState | None:
        await self.bus.ensure_topics(LAYOUT.topics())
        return await self.delivery.end(self.held(), outcome)

    def events(self, topic: str = "diarization-results") -> list[Event]:
        return [Event.parse(record.headers, record.value) for record in self.bus.records(topic)]

    def result(self, segments: int = 1) -> DiarizationResult:
        fields = finished(self.id, segments).result
        timings = fields["timings"] | {"queue": 0.5}
        return DiarizationResult.model_validate(fields | {"job_id": self.job.id, "run": "live", "timings": timings})


IN_ORDER = ["store result.json", "store ended.json", "publish diarization-results", "remove pending", "ack"]

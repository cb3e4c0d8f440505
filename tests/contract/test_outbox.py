"""What every outbox promises, on the twin and on real brokers; and what one with transactions promises more, on Apache Kafka."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import aclosing

import pytest
from confluent_kafka import Consumer, TopicPartition

from processor import persistence
from processor.at_least_once import AtLeastOnce
from processor.finished import SPAN, Finished
from processor.outbox import Message, Outbox
from processor.receipts import Receipt, Receipts
from processor.transactional import Transactional
from schemas.topics import DEAD_LETTER_LIMIT, HEADERS_LIMIT, Topic
from tests.support.worker import FreeFlow
from tests.support.worlds import DEAD, JOBS, ON_KAFKA, RESULTS, Kafka, World
from turnstream import points
from turnstream.bus import Bus, Position, Record

GROUP = "outbox-tests"
SOON = 30.0
on_kafka = pytest.mark.parametrize("world", [pytest.param("kafka", marks=ON_KAFKA)], indirect=True)


class Owner:
    """A worker, as an outbox sees it: what it received, under which assignment."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.receipts = Receipts(FreeFlow(), 1 << 20)
        self.assigned()

    def assigned(self, partitions: Collection[int] = range(JOBS.partitions)) -> None:
        self.receipts.reset()
        self.outbox.assigned({(JOBS.name, partition) for partition in partitions})

    def receive(self, offset: int, partition: int = 0) -> Receipt:
        return self.receipts.take(Position(JOBS.name, partition, offset), lambda: None)

    async def end(self, receipt: Receipt, *more: Receipt) -> bool:
        """As a delivery does it."""
        told = await self.outbox.send([event(receipt)], [receipt, *more])
        if told:
            for each in (receipt, *more):
                each()
        return told

    async def settled(self, offset: int, partition: int = 0) -> bool:
        return await self.outbox.settled(Position(JOBS.name, partition, offset))


def event(receipt: Receipt) -> Message:
    return Message(
        RESULTS.name, receipt.position.offset % 2, b"job", str(receipt.position).encode(), (("ce_id", b"1"),)
    )


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persistence, "FIRST_DELAY", 0.01)


async def there() -> bool:
    return True


@pytest.fixture
async def employ(world: World, bus: Bus) -> AsyncIterator[Callable[[], Owner]]:
    """One more worker."""
    await bus.ensure_topics([DEAD])
    made: list[Outbox] = []

    def another() -> Owner:
        transactional = isinstance(world, Kafka) and world.idempotent
        made.append(Transactional(world.bootstrap, GROUP, 0.2, there) if transactional else AtLeastOnce(bus))
        return Owner(made[-1])

    yield another
    for outbox in made:
        await outbox.close()
    gc.collect()  # here and now asyncio may say whose errors nobody asked for: those of the producers that were killed


@pytest.fixture
def owner(employ: Callable[[], Owner]) -> Owner:
    return employ()


async def told(bus: Bus, topic: str = RESULTS.name) -> list[Record]:
    """What those see who read only what is committed."""
    async with aclosing(bus.snapshot(topic)) as records:
        return [record async for record in records]


async def told_of(bus: Bus) -> list[str]:
    return sorted((record.value or b"").decode() for record in await told(bus))


async def committed(world: Kafka, partition: int = 0) -> Finished:
    def ask() -> Finished:
        consumer = Consumer({"bootstrap.servers": world.bootstrap, "group.id": GROUP, "enable.auto.commit": False})
        (found,) = consumer.committed([TopicPartition(JOBS.name, partition)], timeout=10)
        consumer.close()
        return Finished.read(found.offset, found.metadata or "") if found.offset >= 0 else Finished()

    return await asyncio.to_thread(ask)


# Every outbox


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [
        (b"key", b"value", (("ce_id", b"1"), ("empty", b""))),
        (None, b"value", ()),
        (b"key", None, (("same", b"2"), ("same", b"1"))),
        (None, None, (("error", b"event_invalid"),)),
    ],
)
async def test_a_message_arrives_as_it_was_sent(owner: Owner, bus: Bus, key, value, headers):
    message = Message(RESULTS.name, 1, key, value, headers)
    assert await owner.outbox.send([message], [owner.receive(0)])
    (record,) = await told(bus)
    assert (record.position.partition, record.key, record.value, record.headers) == (1, key, value, headers)


async def test_a_large_dead_letter_is_taken(owner: Owner, bus: Bus):
    letter = Message(Topic.JOBS_DLQ, 0, None, bytes(DEAD_LETTER_LIMIT), (("large", bytes(HEADERS_LIMIT)),))
    receipt = owner.receive(0)
    assert await owner.outbox.send([letter, event(receipt)], [receipt])
    (record,) = await told(bus, Topic.JOBS_DLQ)
    assert len(record.value or b"") == DEAD_LETTER_LIMIT
    assert len(await told(bus)) == 1


async def test_where_the_messages_lie_is_known_before_their_record_is_settled(owner: Owner, bus: Bus):
    receipts = [owner.receive(offset) for offset in range(4)]
    places: list[Position] = []

    async def placed(positions: Collection[Position]) -> None:
        places.extend(positions)

    sent = [owner.outbox.send([event(each), event(each)], [each], placed) for each in receipts]
    assert await asyncio.gather(*sent) == [True] * 4
    assert {record.position for record in await told(bus)} == set(places)
    assert len(places) == 8


async def test_a_record_that_has_nothing_to_say_is_settled_all_the_same(owner: Owner, bus: Bus):
    assert await owner.outbox.send([], [owner.receive(0)])
    assert await told(bus) == []


# With transactions


@pytest.fixture
def on_point(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], None]], None]:
    """Have something happen at a named point, the first time."""

    def at(name: str, strike: Callable[[], None]) -> None:
        strikes = {name: strike}

        def passing(name: str) -> None:
            if name in strikes:
                strikes.pop(name)()

        monkeypatch.setattr(points, "passing", passing)

    return at


class Killed(BaseException):
    """The process dies here."""


async def killed_at(point: str, on_point: Callable[..., None], sending: asyncio.Task[bool]) -> None:
    died = asyncio.Event()

    def die() -> None:
        died.set()
        raise Killed

    on_point(point, die)
    async with asyncio.timeout(SOON):
        await died.wait()
        await asyncio.wait([sending])
    assert isinstance(sending.exception(), Killed)


@on_kafka
class TestTransactional:
    async def test_message_and_record_are_settled_together(self, owner: Owner, bus: Bus, world: Kafka):
        receipt = owner.receive(0)
        assert not await owner.settled(0)
        assert await owner.end(receipt)
        assert await owner.settled(0)
        assert await told_of(bus) == ["gpu-jobs/0/0"]
        assert await committed(world) == Finished(1)

    async def test_what_ends_out_of_order_is_settled_at_once_and_remembered(
        self, employ: Callable[[], Owner], bus: Bus, world: Kafka
    ):
        owner = employ()
        receipts = {offset: owner.receive(offset) for offset in (3, 4, 5, 7, 8)}  # 6 is a marker
        for offset in (8, 4):
            assert await owner.end(receipts[offset])
        assert await committed(world) == Finished(3).including([4, 8])
        after = employ()  # the worker before is gone, or thought to be
        assert [await after.settled(offset) for offset in (2, 3, 4, 5, 8, 9)] == [True, False, True, False, True, False]
        again = {offset: after.receive(offset) for offset in (3, 4, 5, 7, 8)}
        assert not await after.end(again[8])  # it is told already
        assert await after.end(again[3])
        assert await committed(world) == Finished(5).including([8])
        again[8]()
        assert await after.end(again[5], again[7])
        assert await committed(world) == Finished(9)
        assert await told_of(bus) == [f"gpu-jobs/0/{offset}" for offset in (3, 4, 5, 8)]

    @pytest.mark.parametrize("point", ["transaction.begun", "transaction.sent", "transaction.offsets"])
    async def test_killed_before_the_commit_nothing_was_told(
        self, point: str, employ: Callable[[], Owner], bus: Bus, world: Kafka, on_point: Callable[..., None]
    ):
        first = employ()
        await killed_at(point, on_point, asyncio.create_task(first.end(first.receive(0))))
        second = employ()
        assert not await second.settled(0)
        assert await told(bus) == []
        assert await second.end(second.receive(0))
        assert await told_of(bus) == ["gpu-jobs/0/0"]
        assert await committed(world) == Finished(1)

    async def test_killed_after_the_commit_all_was_told(
        self, employ: Callable[[], Owner], bus: Bus, on_point: Callable[..., None]
    ):
        first = employ()
        await killed_at("transaction.committed", on_point, asyncio.create_task(first.end(first.receive(0))))
        second = employ()
        assert await second.settled(0)
        assert not await second.end(second.receive(0))
        assert await told_of(bus) == ["gpu-jobs/0/0"]

    @pytest.mark.parametrize("point", ["transaction.sent", "transaction.offsets", "transaction.committed"])
    async def test_after_an_error_it_is_told_once(
        self, point: str, owner: Owner, bus: Bus, world: Kafka, on_point: Callable[..., None]
    ):
        def fail() -> None:
            raise TimeoutError  # at the last point: the answer to the commit was lost

        on_point(point, fail)
        told_here = await owner.end(owner.receive(0))
        assert told_here is (point != "transaction.committed")  # else found settled
        assert await told_of(bus) == ["gpu-jobs/0/0"]
        assert await committed(world) == Finished(1)

    async def test_what_waits_goes_into_one_transaction(
        self, owner: Owner, bus: Bus, world: Kafka, on_point: Callable[..., None]
    ):
        receipts = [owner.receive(offset) for offset in range(40)]
        assert not await owner.settled(0)  # connected now
        assert all(await asyncio.gather(*(owner.end(receipt) for receipt in receipts)))
        assert len(await told(bus)) == 40
        assert await committed(world) == Finished(40)
        markers = 0
        for partition in range(2):
            last = max(record.position.offset for record in await told(bus) if record.position.partition == partition)
            markers += last + 1 - 20
        assert markers <= 2  # one transaction for the first of them, one for the others

    async def test_copies_in_another_partition_are_settled_as_well(self, owner: Owner, bus: Bus, world: Kafka):
        assert await owner.end(owner.receive(4), owner.receive(7, partition=1))
        assert await told_of(bus) == ["gpu-jobs/0/4"]
        assert (await committed(world), await committed(world, 1)) == (Finished(5), Finished(8))

    async def test_of_copies_of_which_one_is_settled_nothing_is_told_before_that_is_known(
        self, owner: Owner, bus: Bus, world: Kafka
    ):
        assert await owner.outbox.send([], [owner.receive(4)])  # moved to a retry, say
        copy = owner.receive(7, partition=1)
        assert not await owner.end(owner.receive(4), copy)
        assert await told(bus) == []
        assert await owner.end(copy)
        assert await told_of(bus) == ["gpu-jobs/1/7"]
        assert await committed(world, 1) == Finished(8)

    async def test_copies_are_told_once_though_the_answer_to_the_first_commit_is_lost(
        self, owner: Owner, bus: Bus, world: Kafka, on_point: Callable[..., None]
    ):
        def fail() -> None:
            raise TimeoutError

        on_point("transaction.committed", fail)
        assert not await owner.end(owner.receive(4), owner.receive(7, partition=1))
        assert await told_of(bus) == ["gpu-jobs/0/4"]
        assert (await committed(world), await committed(world, 1)) == (Finished(5), Finished())

    async def test_a_worker_of_an_older_assignment_tells_nothing(self, owner: Owner, bus: Bus, world: Kafka):
        receipt = owner.receive(0)
        owner.assigned({1, 2})
        assert not await owner.end(receipt)
        assert not await owner.settled(0)
        assert await told(bus) == []
        assert await committed(world) == Finished()

    async def test_whoever_comes_later_shuts_the_former_owner_out(
        self, employ: Callable[[], Owner], bus: Bus, world: Kafka
    ):
        zombie, owner = employ(), employ()
        assert await zombie.end(zombie.receive(0))
        late = [zombie.receive(1), zombie.receive(2)]
        assert await owner.settled(0)  # it has the partition now
        assert await owner.end(owner.receive(1))
        ending = asyncio.gather(*(zombie.end(receipt) for receipt in late))
        zombie.assigned({1})  # hears of it
        assert await ending == [False, False]
        assert await owner.end(owner.receive(2))
        assert await told_of(bus) == [f"gpu-jobs/0/{offset}" for offset in range(3)]
        assert await committed(world) == Finished(3)

    async def test_two_that_believe_they_own_a_partition_tell_each_record_once(
        self, employ: Callable[[], Owner], bus: Bus, world: Kafka
    ):
        both = [employ(), employ()]
        receipts = [[each.receive(offset) for offset in range(12)] for each in both]

        async def work(one: Owner, mine: list[Receipt]) -> int:
            return sum([await one.end(receipt) for receipt in mine])

        counts = await asyncio.gather(*(work(one, mine) for one, mine in zip(both, receipts, strict=True)))
        assert await told_of(bus) == sorted(f"gpu-jobs/0/{offset}" for offset in range(12))
        assert await committed(world) == Finished(12)
        assert sum(counts) <= 12

    async def test_an_offset_beyond_the_bitmap_waits_for_room(self, owner: Owner, bus: Bus, world: Kafka):
        first, near, far = owner.receive(0), owner.receive(SPAN - 1), owner.receive(SPAN)
        ending = asyncio.create_task(owner.end(far))
        assert await owner.end(near)
        assert not ending.done()
        assert await owner.end(first)
        assert await ending
        assert await committed(world) == Finished(SPAN + 1)
        assert len(await told(bus)) == 3

    async def test_a_failure_that_stays_is_raised(
        self, owner: Owner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ):
        def fail(name: str) -> None:
            raise ValueError(name)

        monkeypatch.setattr(points, "passing", fail)
        monkeypatch.setattr(persistence, "LONGEST_DELAY", 0.01)
        caplog.set_level(logging.CRITICAL)
        with pytest.raises(ValueError, match="begun"):
            await owner.end(owner.receive(0))

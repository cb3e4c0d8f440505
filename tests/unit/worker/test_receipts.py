from processor.receipts import SPAN_HIGH_WATER, Receipt, Receipts
from turnstream.bus.base import Position


class Heard:
    """A flow and its acknowledgements, as one list in order."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def pause(self, topic: str, partition: int) -> None:
        self.said.append(f"pause {topic}/{partition}")

    def resume(self, topic: str, partition: int) -> None:
        self.said.append(f"resume {topic}/{partition}")

    def take(self, receipts: Receipts, offset: int, partition: int = 0, topic: str = "jobs") -> Receipt:
        position = Position(topic, partition, offset)
        return receipts.take(position, lambda: self.said.append(f"ack {position}"))


def test_acknowledgements_leave_in_the_order_of_a_partition():
    heard = Heard()
    receipts = Receipts(heard, 8)
    first, second = heard.take(receipts, 0), heard.take(receipts, 1)
    other, elsewhere = heard.take(receipts, 0, partition=1), heard.take(receipts, 0, topic="retries")
    second()
    other()
    elsewhere()
    first()
    first()
    assert heard.said == ["ack jobs/1/0", "ack retries/0/0", "ack jobs/0/0", "ack jobs/0/1"]


def test_a_full_partition_is_paused_and_goes_on_at_half():
    heard = Heard()
    receipts = Receipts(heard, high_water=4)
    held = [heard.take(receipts, offset) for offset in range(5)]
    assert heard.said == ["pause jobs/0"]
    heard.take(receipts, 0, partition=1)
    for receipt in held:
        receipt()
    acks = [f"ack jobs/0/{offset}" for offset in range(5)]
    assert heard.said == ["pause jobs/0", *acks[:3], "resume jobs/0", *acks[3:]]


def test_a_partition_with_one_open_record_far_behind_the_others_is_paused_until_that_is_done():
    heard = Heard()
    receipts = Receipts(heard, high_water=4)
    slow = heard.take(receipts, 0)
    for offset in range(1, SPAN_HIGH_WATER):
        heard.take(receipts, offset)()
    assert heard.said == ["pause jobs/0"]
    slow()
    assert heard.said[-1] == "resume jobs/0"
    assert len(heard.said) == SPAN_HIGH_WATER + 2


def test_a_receipt_of_a_past_assignment_does_nothing():
    heard = Heard()
    receipts = Receipts(heard, high_water=1)
    old = heard.take(receipts, 7)
    receipts.reset()
    heard.said.clear()
    new = heard.take(receipts, 7)
    old()
    assert heard.said == ["pause jobs/0"]
    assert (old.holds, new.holds) == (False, True)
    new()
    assert heard.said == ["pause jobs/0", "ack jobs/0/7", "resume jobs/0"]

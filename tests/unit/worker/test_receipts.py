from processor.receipts import Receipts
from turnstream.bus.base import Position


class Heard:
    """A flow and its acknowledgements, as one list in order."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def pause(self, partition: int) -> None:
        self.said.append(f"pause {partition}")

    def resume(self, partition: int) -> None:
        self.said.append(f"resume {partition}")

    def take(self, receipts: Receipts, offset: int, partition: int = 0):
        return receipts.take(
            Position("gpu-jobs", partition, offset), lambda: self.said.append(f"ack {partition}/{offset}")
        )


def test_acknowledgements_leave_in_the_order_of_a_partition():
    heard, receipts = Heard(), None
    receipts = Receipts(heard, 8)
    first, second, other = heard.take(receipts, 0), heard.take(receipts, 1), heard.take(receipts, 0, partition=1)
    second()
    other()
    first()
    first()
    assert heard.said == ["ack 1/0", "ack 0/0", "ack 0/1"]


def test_a_full_partition_is_paused_and_goes_on_at_half():
    heard = Heard()
    receipts = Receipts(heard, high_water=4)
    held = [heard.take(receipts, offset) for offset in range(5)]
    assert heard.said == ["pause 0"]
    heard.take(receipts, 0, partition=1)
    for receipt in held:
        receipt()
    assert heard.said == ["pause 0", "ack 0/0", "ack 0/1", "ack 0/2", "resume 0", "ack 0/3", "ack 0/4"]


def test_a_receipt_of_a_past_assignment_does_nothing():
    heard = Heard()
    receipts = Receipts(heard, high_water=1)
    old = heard.take(receipts, 7)
    receipts.reset()
    heard.said.clear()
    new = heard.take(receipts, 7)
    old()
    assert heard.said == ["pause 0"]
    new()
    assert heard.said == ["pause 0", "ack 0/7", "resume 0"]

"""Many things done a few at a time: each once, never too many at once, cleanly ended whatever fails."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import BrokerUnavailable
from turnstream.resumable import Outcome, Tally, publish


class Source:
    """So many numbers; remembers how many were taken, and whether it was closed."""

    def __init__(self, count: int) -> None:
        self.count, self.taken, self.closed = count, 0, False

    async def items(self) -> AsyncGenerator[int, None]:
        try:
            for number in range(self.count):
                self.taken += 1
                yield number
                await asyncio.sleep(0)
        finally:
            self.closed = True


@given(st.lists(st.sampled_from([*Outcome, BrokerUnavailable]), max_size=40), st.integers(1, 9))
def test_every_item_is_done_once_and_counted_for_what_became_of_it(fates: list[object], at_once: int) -> None:
    source, done, told, most = Source(len(fates)), Counter[int](), list[Tally](), 0

    async def act(item: int) -> Outcome:
        nonlocal most
        most = max(most, source.taken - sum(told_of.total for told_of in told[-1:]))
        for _ in range(item % 3):
            await asyncio.sleep(0)
        done[item] += 1
        fate = fates[item]
        if isinstance(fate, Outcome):
            return fate
        raise BrokerUnavailable("away")

    tally = asyncio.run(publish(source.items(), act, at_once=at_once, tell=told.append))

    assert done == Counter(range(len(fates)))
    assert most <= at_once, "no more are taken and not ended"
    failed = sum(fate in {Outcome.FAILED, BrokerUnavailable} for fate in fates)
    counted = [fates.count(outcome) for outcome in (Outcome.DONE, Outcome.THERE, Outcome.LEFT)]
    assert [tally.done, tally.there, tally.left, tally.failed] == [*counted, failed]
    assert [each.total for each in told] == list(range(1, len(fates) + 1))
    assert source.closed


async def test_a_fault_that_is_no_items_own_ends_all() -> None:
    source, ended = Source(1000), list[int]()

    async def act(item: int) -> Outcome:
        if item == 7:
            raise ZeroDivisionError
        try:
            await asyncio.sleep(3600 if item % 2 else 0)
        finally:
            ended.append(item)
        return Outcome.DONE

    with pytest.raises(ZeroDivisionError):
        await publish(source.items(), act, at_once=6, tell=lambda _: None)

    assert source.closed
    assert set(ended) == set(range(source.taken)) - {7}, "nothing is left behind"


async def test_who_is_cancelled_leaves_nothing_behind() -> None:
    source, begun, ended = Source(1000), asyncio.Event(), list[int]()

    async def act(item: int) -> Outcome:
        if item == 3:
            begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(item)
        return Outcome.DONE

    work = asyncio.create_task(publish(source.items(), act, at_once=4, tell=lambda _: None))
    await begun.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work

    assert source.closed
    assert sorted(ended) == [0, 1, 2, 3]

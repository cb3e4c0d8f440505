"""The load under faults goes on for as long as there are faults."""

import asyncio

import pytest

from tests.chaos import load as loads
from tests.chaos.load import Load

SOON = 20.0


async def test_clients_hand_in_now_and_then_while_enough_wait(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loads, "TRICKLE", 0.01)
    monkeypatch.setattr(loads, "AWAY", 0.0)
    nobody = "http://127.0.0.1:1"
    load = Load(lambda: nobody, b"", seed=1, busy=lambda: True, clients=2, real=False)
    running = asyncio.create_task(load.run(0.001))
    async with asyncio.timeout(SOON):
        while load.book.broken < 10:  # noqa: ASYNC110 - of the load
            await asyncio.sleep(0.01)
        load.end()
        await running

"""Name servers that say nothing: they hold up nobody but those whose names they have."""

import asyncio
import threading
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from producer_api.webhooks import lookups
from producer_api.webhooks.guard import Address
from producer_api.webhooks.lookups import Lookups
from tests.support.api import until
from tests.support.receivers import Receiver
from tests.support.webhooks import Bench, Clock
from turnstream.object_store.memory import MemoryStore


class NameServer:
    """Says nothing of the names that begin with `silent` until it is told to give up; the others are of this machine."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.give_up = threading.Event()

    def __call__(self, host: str) -> list[Address]:
        self.asked.append(host)
        if host.startswith("silent"):
            self.give_up.wait()
            raise OSError("nobody answered")
        return [ip_address("127.0.0.1")]


@pytest.fixture
def server() -> Iterator[NameServer]:
    server = NameServer()
    yield server
    server.give_up.set()


@pytest.fixture
def bench(server: NameServer) -> Bench:
    return Bench(MemoryStore(), Clock(), server)


async def test_silent_name_servers_delay_nobody_else(bench: Bench, server: NameServer):
    with Receiver() as receiver:
        dead = [bench.ended_job(number, f"http://silent-{number % 40}.test/") for number in range(80)]
        alive = [bench.ended_job(number, f"http://alive-{number}.test:{receiver.port}/") for number in range(80, 88)]
        deliverer = bench.deliverer()
        await deliverer.turn()
        await until(lambda: len(server.asked) == 48 and len(receiver.received) == len(alive))
        assert len(set(server.asked)) == 48, "two who want to know the same name ask once"
        server.give_up.set()
        await deliverer.settled()
        await deliverer.close(0)
    assert {len(bench.records.webhook(job_id, "live").attempts) for job_id in dead} == {1}


async def test_what_nobody_can_be_asked_for_is_not_tried_and_nothing_is_said_of_its_host(
    bench: Bench, server: NameServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lookups, "MAX_LOOKUPS", 1)
    with Receiver() as receiver:
        bench.ended_job(1, "http://silent.test/")
        deliverer = bench.deliverer()
        await deliverer.turn()
        await until(lambda: server.asked == ["silent.test"])
        alive = bench.ended_job(2, f"http://alive.test:{receiver.port}/")
        deliverer.ended(alive, "live")
        await until(lambda: len(deliverer._open) == 1)
        assert bench.records.webhook(alive, "live") is None
        assert not deliverer._lanes._failing
        server.give_up.set()
        await deliverer.settled()
        await bench.turn(deliverer)
        await deliverer.close(0)
        assert receiver.ids() == {f"{alive}/live": 1}


async def test_a_lookup_goes_on_when_its_try_gives_up_and_is_there_for_the_next(server: NameServer):
    names = Lookups(server)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(names.addresses("silent.test"), 0.01)
    next_try = asyncio.create_task(names.addresses("silent.test"))
    await until(lambda: server.asked)
    server.give_up.set()
    with pytest.raises(OSError, match="nobody answered"):
        await next_try
    assert server.asked == ["silent.test"]
    with pytest.raises(OSError):
        await names.addresses("silent.test")
    assert server.asked == ["silent.test"] * 2, "what is known is not kept"
    names.close()

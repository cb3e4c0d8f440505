"""Alive, and ready."""

import asyncio
import threading
import time

import pytest

from producer_api import broker_watch, service
from schemas.errors import LayoutMismatch, StoreUnavailable
from schemas.topics import Layout, Topic
from tests.support.api import is_problem, until
from turnstream.bus.memory import MemoryBus
from turnstream.object_store.memory import MemoryStore
from turnstream.records import Records


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(broker_watch, "CHECK_INTERVAL", 0.01)
    monkeypatch.setattr(broker_watch, "BACKOFF_LIMIT", 0.02)
    monkeypatch.setattr(service, "STORE_CHECK_INTERVAL", 0)


async def test_it_makes_the_topics_and_is_ready(api):
    assert (await api.client.get("/readyz")).json() == {"status": "ready"}
    for spec in Layout().topics():
        assert await api.bus.topic_id(spec.name)


async def test_it_starts_without_a_broker_and_becomes_ready(start):
    bus = MemoryBus()
    bus.break_down()
    async with start(bus=bus, ready=False) as api:
        assert (await api.client.get("/healthz")).status_code == 200
        response = await api.client.get("/readyz")
        is_problem(response, 503, "broker_unavailable")
        assert "retry-after" in response.headers
        bus.mend()
        await until(lambda: api.service.watch.problem is None)
        assert (await api.client.get("/readyz")).status_code == 200


async def test_it_starts_without_a_store_and_becomes_ready(start):
    store = MemoryStore()
    store.break_down()
    async with start(store=store, ready=False) as api:
        await until(lambda: api.service.watch.problem and api.service.watch.problem.code == "store_unavailable")
        is_problem(await api.client.get("/readyz"), 503, "store_unavailable")
        store.mend()
        await until(lambda: api.service.watch.problem is None)
        assert (await api.client.get("/readyz")).status_code == 200


async def test_it_names_all_that_is_missing(api):
    api.store.break_down()
    is_problem(await api.client.get("/readyz"), 503, "store_unavailable")
    api.bus.break_down()
    await until(lambda: api.service.watch.problem)
    document = is_problem(await api.client.get("/readyz"), 503, "broker_unavailable")
    assert [missing["code"] for missing in document["missing"]] == ["broker_unavailable", "store_unavailable"]
    assert (await api.client.get("/healthz")).status_code == 200


async def test_topics_that_are_lost_are_made_again(api):
    before = await api.bus.topic_id(Topic.JOBS)
    api.bus.forget()
    await until(lambda: api.service.watch.topic_id not in {None, before})
    assert (await api.client.get("/readyz")).status_code == 200


async def test_with_another_layout_in_force_it_does_not_start(start):
    store = MemoryStore()
    Records(store).agree_on_layout(2, ["diarize"])
    with pytest.raises(LayoutMismatch, match="PARTITION_GROUPS=2"):
        async with start(store=store):
            pass


async def test_with_other_partitions_it_takes_no_job(start, blip):
    bus = MemoryBus()
    await bus.ensure_topics(Layout(groups=2).topics())
    async with start(bus=bus, ready=False) as api:
        await until(lambda: isinstance(api.service.watch.problem, LayoutMismatch))
        is_problem(await api.client.get("/readyz"), 503, "layout_mismatch")
        is_problem(await api.submit(blip), 503, "layout_mismatch")
        api.assert_nothing_stays()


async def test_a_broker_that_does_not_answer_is_said_to_be_away(api, monkeypatch):
    monkeypatch.setattr(broker_watch, "CHECK_TIMEOUT", 0.01)
    monkeypatch.setattr(api.bus, "topic_id", lambda _: asyncio.Event().wait())
    await until(lambda: api.service.watch.problem)
    is_problem(await api.client.get("/readyz"), 503, "broker_unavailable")


async def test_a_store_that_hangs_is_not_taken_for_the_broker_and_takes_one_thread(start, monkeypatch):
    monkeypatch.setattr(broker_watch, "CHECK_TIMEOUT", 0.05)
    looks, answer = [], threading.Event()

    class HangingStore(MemoryStore):
        def check(self) -> None:
            looks.append(1)
            answer.wait(10)
            raise StoreUnavailable("it took too long")

    async with start(store=HangingStore()) as api:
        asked = [asyncio.create_task(api.client.get("/readyz")) for _ in range(5)]
        await until(lambda: looks)
        await until(lambda: api.service.watch.problem is None)
        assert len(looks) == 1
        monkeypatch.setattr(service, "STORE_CHECK_INTERVAL", 60)
        answer.set()
        for response in await asyncio.gather(*asked):
            is_problem(response, 503, "store_unavailable")
    assert len(looks) == 1


async def test_a_store_that_is_slow_at_the_start_is_no_broker_that_is_away(start, monkeypatch):
    monkeypatch.setattr(broker_watch, "CHECK_TIMEOUT", 0.05)

    class SlowStore(MemoryStore):
        def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
            if key.startswith("layout/"):
                time.sleep(0.2)
            super().put(key, data, if_absent=if_absent)

    async with start(store=SlowStore(), ready=False) as api:
        await until(lambda: api.service.watch.problem is None)

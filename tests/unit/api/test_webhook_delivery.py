"""Webhooks over days: every event is delivered at least once and none is dropped, whoever is killed when."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from producer_api.webhooks.lanes import TO_ONE_HOST
from producer_api.webhooks.schedule import DELAYS, next_look, next_try
from schemas.errors import ErrorInfo, StoreUnavailable
from schemas.jobs import LIVE_RUN, Job
from schemas.webhooks import WebhookState
from tests.support.api import until
from tests.support.receivers import Received, Receiver
from tests.support.stores import WatchedStore, keys
from tests.support.webhooks import NOON, Bench, Clock, FileClock
from turnstream import points
from turnstream.object_store.filesystem import FilesystemStore
from turnstream.object_store.memory import MemoryStore
from turnstream.records import Webhook
from turnstream.records.webhooks import first_due

POINTS = [f"webhook.{name}" for name in ("sending", "sent", "moved", "recorded", "removed")]
THREE_DAYS = timedelta(days=3)


class Killed(BaseException):
    """What a process does not survive."""


@pytest.fixture
def bench() -> Bench:
    return Bench(MemoryStore(), Clock())


# The schedule


async def test_a_receiver_that_is_never_up_is_tried_ten_times_in_75_hours(bench):
    with Receiver(up=lambda: False) as receiver:
        job_id = bench.ended_job(1, receiver.url)
        await bench.deliver()
        assert receiver.refused == 10
    webhook = bench.records.webhook(job_id, LIVE_RUN)
    assert webhook.state is WebhookState.FAILED
    assert all("no connection" in attempt.error for attempt in webhook.attempts)
    assert 75 <= bench.clock.passed / timedelta(hours=1) <= 1.1 * 76
    assert keys(bench.store, "webhooks/") == []


def test_delays_grow_from_five_seconds_on():
    waits = [(next_try(tries, NOON) - NOON).total_seconds() for tries in range(1, 10)]
    assert all(delay <= wait <= 1.1 * delay for delay, wait in zip(DELAYS, waits, strict=True))
    assert DELAYS[0] == 5 and sum(DELAYS) == pytest.approx(75.6 * 3600, rel=0.01)
    assert next_try(10, NOON) is None


def test_a_receiver_may_ask_for_more_time_and_not_for_less():
    assert next_try(1, NOON, 120) == NOON + timedelta(seconds=120)
    assert next_try(1, NOON, 1e9) == NOON + timedelta(hours=24)
    assert next_try(3, NOON, 1) > NOON + timedelta(minutes=20)


async def test_what_a_receiver_asks_for_is_kept(bench):
    with Receiver(lambda received: (503, {"Retry-After": "3600"})) as receiver:
        job_id = bench.ended_job(1, receiver.url)
        await bench.deliver(until=lambda: bool(receiver.received))
    assert bench.records.webhook(job_id, LIVE_RUN).due == bench.clock() + timedelta(hours=1)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 400, 404, 500, 304, 100 + 99])
async def test_whatever_is_no_success_is_tried_again(bench, status):
    with Receiver() as other, Receiver(lambda received: (status, {"Location": other.url})) as receiver:
        job_id = bench.ended_job(1, receiver.url)
        await bench.deliver(until=lambda: bool(receiver.received))
        assert other.received == []
    webhook = bench.records.webhook(job_id, LIVE_RUN)
    assert (webhook.state, webhook.attempts[0].status) == (WebhookState.PENDING, status if status >= 200 else None)


def test_looks_at_a_run_that_does_not_end_become_rare():
    assert next_look(NOON, NOON) == NOON + timedelta(minutes=1)
    assert next_look(NOON - timedelta(minutes=10), NOON) == NOON + timedelta(minutes=10)
    assert next_look(NOON - timedelta(days=1), NOON) == NOON + timedelta(hours=1)


async def test_a_run_that_has_not_ended_stays_in_the_queue(bench):
    with Receiver() as receiver:
        job = Job(id="01960001-0000-7000-8000-000000000001", owner="a", created_at=NOON, webhook_url=receiver.url)
        bench.records.create(job, None)
        await bench.deliver(until=lambda: bench.clock.passed > timedelta(days=1))
        assert receiver.received == []
        assert len(keys(bench.store, "webhooks/")) == 1
        bench.records.put_error(job.id, LIVE_RUN, ErrorInfo(code="engine_failed", detail="no"))
        await bench.deliver()
        assert receiver.ids() == {f"{job.id}/live": 1}


async def test_an_end_that_is_heard_is_told_at_once_and_once(bench):
    with Receiver() as receiver:
        job_id = bench.ended_job(1, receiver.url)
        deliverer = bench.deliverer()
        deliverer.ended(job_id, LIVE_RUN)  # nobody leads yet
        await bench.turn(deliverer)
        assert receiver.ids() == {f"{job_id}/live": 1}, "who takes the lead looks through the queue"
        for _ in range(3):
            deliverer.ended(job_id, LIVE_RUN)
            await deliverer.settled()
        late = bench.ended_job(2, receiver.url)
        deliverer.ended(late, LIVE_RUN)
        await deliverer.settled()
        await deliverer.close(0)
        assert receiver.ids() == {f"{job_id}/live": 1, f"{late}/live": 1}
        assert bench.clock.passed == timedelta(0)
    assert keys(bench.store, "webhooks/") == []


async def test_an_end_that_is_heard_while_the_run_is_looked_at_is_told(bench):
    """The look comes a moment too early, and finds that the run has not ended."""
    with Receiver() as receiver:
        deliverer = bench.deliverer()
        await bench.turn(deliverer)
        job = Job(id="01960001-0000-7000-8000-000000000001", owner="a", created_at=NOON, webhook_url=receiver.url)
        bench.records.create(job, None)
        looking, go_on = threading.Event(), threading.Event()
        look = bench.records.has_run

        def slow(*run: str) -> bool:
            looking.set()
            return go_on.wait(30) and look(*run)

        bench.records.has_run = slow
        deliverer.ended(job.id, LIVE_RUN)
        await asyncio.to_thread(looking.wait, 30)
        bench.records.put_error(job.id, LIVE_RUN, ErrorInfo(code="engine_failed", detail="no"))
        deliverer.ended(job.id, LIVE_RUN)
        go_on.set()
        await deliverer.settled()
        await deliverer.close(0)
        assert receiver.ids() == {f"{job.id}/live": 1}


async def test_what_is_closed_begins_nothing(bench):
    with Receiver() as receiver:
        go_on = threading.Event()
        receiver.answer = lambda received: 200 if go_on.wait(30) else 500
        jobs = [bench.ended_job(number, receiver.url) for number in range(1, 3 * TO_ONE_HOST)]
        deliverer = bench.deliverer()
        await deliverer.turn()
        await until(lambda: len(receiver.received) == TO_ONE_HOST)
        closing = asyncio.create_task(deliverer.close(30))
        await asyncio.sleep(0)
        go_on.set()
        await closing
        assert len(receiver.received) == TO_ONE_HOST
        await bench.deliver()
        assert receiver.ids() == dict.fromkeys((f"{job_id}/live" for job_id in jobs), 1)


@pytest.mark.parametrize("tries, status", [(0, 503), (9, 503), (3, 410), (0, 200)])
async def test_what_is_asked_for_again_while_a_try_is_under_way_is_sent_again(bench, tries, status):
    """As often as the first time, and whatever becomes of that try: also where it was the last one."""
    with Receiver() as receiver:
        job_id = bench.ended_job(1, receiver.url)
        job = bench.records.job(job_id)
        if tries:
            bench.records.put_webhook(job_id, LIVE_RUN, Webhook(due=first_due(job), tries=tries))

        def asked_for_again(_: Received) -> int:
            receiver.answer = lambda _: 503
            bench.clock.pass_until(bench.clock() + timedelta(seconds=1))
            bench.records.redeliver(job, LIVE_RUN, bench.clock())
            return status

        receiver.answer = asked_for_again
        await bench.deliver()
        assert len(receiver.received) == 1 + 10
    webhook = bench.records.webhook(job_id, LIVE_RUN)
    assert (webhook.state, webhook.tries) == (WebhookState.FAILED, 10)
    assert [attempt.status for attempt in webhook.attempts] == [status] + [503] * 10
    assert keys(bench.store, "webhooks/") == []


async def test_one_of_two_delivers_and_the_other_takes_over(bench):
    with Receiver() as receiver:
        other = Bench(bench.store, bench.clock, port=8001)
        first, second = bench.deliverer(), other.deliverer()
        one = bench.ended_job(1, receiver.url)
        await bench.turn(first)
        await bench.turn(second)
        assert (first.leading, second.leading) == (True, False)
        assert receiver.ids() == {f"{one}/live": 1}
        await first.close(0)
        two = bench.ended_job(2, receiver.url)
        await bench.turn(second)
        await second.close(0)
        assert receiver.ids() == {f"{one}/live": 1, f"{two}/live": 1}


# Crashes


async def test_the_store_fails_at_each_step():
    """Whatever write is the last one before everything stops, somebody else goes on and the event arrives."""
    steps = 0
    while True:
        store, clock = WatchedStore(), Clock()
        bench = Bench(store, clock)
        with Receiver(up=lambda clock=clock: clock.passed > timedelta(hours=1)) as receiver:
            job_id = bench.ended_job(1, receiver.url)
            steps += 1
            store.allowed = len(store.changes) + steps
            whole = await _deliver_or_break(bench)
            store.allowed = 10_000
            await bench.deliver()
            assert receiver.ids()[f"{job_id}/live"] >= 1, f"lost after {steps} changes: {store.changes}"
            assert bench.state(job_id) is WebhookState.DELIVERED
            assert keys(store, "webhooks/") == []
        if whole:
            break
    assert steps > 15


async def _deliver_or_break(bench: Bench) -> bool:
    try:
        await bench.deliver(until=lambda: bench.store.changes and len(bench.store.changes) >= bench.store.allowed)
    except StoreUnavailable:
        return False
    return len(bench.store.changes) < bench.store.allowed


@pytest.mark.parametrize("point", POINTS)
async def test_the_process_stops_at_each_point(bench, point, monkeypatch):
    """At its first passage, its second, and so on, until it comes through."""
    for passage in range(1, 30):
        left = [passage]

        def passing(name: str, left: list[int] = left) -> None:
            left[0] -= name == point
            if name == point and not left[0]:
                raise Killed

        monkeypatch.setattr(points, "passing", passing)
        start = bench.clock()
        with Receiver(up=lambda start=start: bench.clock() - start > timedelta(hours=1)) as receiver:
            job_id = bench.ended_job(passage, receiver.url)
            await bench.deliver(until=lambda left=left: left[0] <= 0)
            monkeypatch.setattr(points, "passing", lambda name: None)
            await bench.deliver()
            assert receiver.ids()[f"{job_id}/live"] >= 1
            for received in receiver.received:
                assert received.verified()["data"]["job"]["id"] == job_id
            assert bench.state(job_id) is WebhookState.DELIVERED
            assert keys(bench.store, "webhooks/") == []
        if left[0] > 0:
            break
    assert passage > 1


@pytest.mark.timeout(600)
def test_three_days_down_and_killed_at_each_step(tmp_path: Path):
    """Eight events; the receiver is down for three days. Every few tries the process that delivers is killed, at one point after
    the other, until one comes to the end.
    """
    store, clock_file, armed = tmp_path / "store", tmp_path / "clock", tmp_path / "points"
    armed.mkdir()
    order = itertools.cycle(POINTS)
    came, point = 0, next(order)

    def up() -> bool:
        nonlocal came
        came += 1
        if came == 8:
            _arm(armed, point)
        return FileClock(clock_file).passed > THREE_DAYS

    with Receiver(up=up) as receiver:
        bench = Bench(FilesystemStore(store), FileClock(clock_file))
        jobs = [bench.ended_job(number, receiver.url) for number in range(1, 9)]
        kills: Counter[str] = Counter()
        while (ended := _deliverer(store, clock_file, armed).wait(300)) == -signal.SIGKILL:
            kills[point] += 1
            came, point = 0, next(order)
    assert ended == 0
    assert kills.keys() == set(POINTS)
    assert FileClock(clock_file).passed > THREE_DAYS
    assert receiver.ids().keys() == {f"{job_id}/live" for job_id in jobs}
    for received in receiver.received:
        assert received.verified()["type"] == "diarization.completed"
    assert {bench.state(job_id) for job_id in jobs} == {WebhookState.DELIVERED}
    assert keys(bench.store, "webhooks/") == []
    print(f"{sum(kills.values())} kills, {receiver.refused} tries in vain, {len(receiver.received)} deliveries")


def _deliverer(store: Path, clock: Path, armed: Path) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-m", "tests.support.webhooks", str(store), str(clock)]
    return subprocess.Popen(arguments, env=os.environ | {points.ENV: str(armed)})


def _arm(folder: Path, point: str) -> None:
    draft = folder / f".{point}"
    draft.write_text("SIGKILL")
    draft.rename(folder / point)

"""A job's events: what its reader gets, in which order, and once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer_api import event_stream, results
from producer_api.event_stream import LAST, news
from schemas.errors import ErrorInfo
from schemas.jobs import JobState, JobView, Progress
from schemas.topics import Topic
from tests.support.api import KEY, OTHER_KEY, complete, is_problem, result, until
from tests.support.sse import Sent, parsed
from tests.unit.api.test_jobs import UNKNOWN, tell_progress


@asynccontextmanager
async def listening(port: int, job_id: str, seen: str = "", key: str = KEY) -> AsyncIterator[httpx.Response]:
    headers = {"x-api-key": key} | ({"Last-Event-ID": seen} if seen else {})
    async with (
        httpx.AsyncClient(timeout=30) as client,
        client.stream("GET", f"http://127.0.0.1:{port}/api/v1/jobs/{job_id}/events", headers=headers) as response,
    ):
        yield response


async def all_of(port: int, job_id: str, seen: str = "") -> list[Sent]:
    async with listening(port, job_id, seen) as response:
        assert response.status_code == 200
        return [event async for event in parsed(response.aiter_lines())]


def said(events: list[Sent]) -> list[tuple[str, str]]:
    """Each event with what is new in it."""
    return [(sent.event, str(sent.data.get("state", sent.data.get("fraction", "")))) for sent in events]


async def test_a_job_as_it_goes_on(serve, blip):
    async with serve() as (api, port):
        job_id = await api.new_job(blip)
        got: list[Sent] = []
        async with listening(port, job_id) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            assert response.headers["cache-control"] == "no-store"
            events = parsed(response.aiter_lines())
            got.append(await anext(events))
            for fraction in (0.25, 0.5):
                await tell_progress(api, job_id, fraction)
                while got[-1].data.get("fraction") != fraction:
                    got.append(await anext(events))
            await complete(api, job_id)
            got += [event async for event in events]

        assert said(got) == [
            ("state", "queued"),
            ("state", "running"),
            ("progress", "0.25"),
            ("progress", "0.5"),
            ("state", "succeeded"),
            ("result", ""),
        ]
        assert got[2].data == {"stage": "embedding", "fraction": 0.25, "eta": 3}
        assert got[-1].data["address"] == f"/api/v1/jobs/{job_id}/result"
        assert got[-1].data["result"] == result(job_id).model_dump(mode="json", exclude_none=True)
        assert len({sent.id for sent in got}) == len(got)
        await until(lambda: not api.service.results._waiters)

        for index, sent in enumerate(got[:-1]):  # what was seen is not sent again, and nothing else is missing
            assert said(await all_of(port, job_id, sent.id)) == said(got[max(index + 1, 4) :])
        async with listening(port, job_id, got[-1].id) as response:
            assert response.status_code == 204, "EventSource stops asking"
        assert said(await all_of(port, job_id)) == [("state", "succeeded"), ("result", "")]
        assert said(await all_of(port, job_id, "of another service")) == [("state", "succeeded"), ("result", "")]


@pytest.mark.parametrize("end", ["failed", "cancelled"])
async def test_a_job_that_comes_to_nothing_ends_with_its_state(serve, blip, end):
    async with serve() as (api, port):
        job_id = await api.new_job(blip)
        listener = asyncio.create_task(all_of(port, job_id))
        await until(lambda: api.service.results._waiters)
        if end == "cancelled":
            await api.client.post(f"/api/v1/jobs/{job_id}/cancel")
        else:
            api.records.put_error(job_id, "live", ErrorInfo(code="engine_failed", detail="so it is"))
        last = (await listener)[-1]
        assert (last.event, last.id, last.data["state"]) == ("state", end, end)
        assert last.data["error"]["code"] == {"failed": "engine_failed", "cancelled": "job_cancelled"}[end]
        async with listening(port, job_id, last.id) as response:
            assert response.status_code == 204


async def test_a_large_result_is_only_pointed_at(serve, blip, monkeypatch):
    monkeypatch.setattr(event_stream, "INLINE", 10)
    async with serve() as (api, port):
        job_id = await api.new_job(blip)
        await complete(api, job_id)
        assert (await all_of(port, job_id))[-1].data == {
            "job_id": job_id,
            "run": "live",
            "address": f"/api/v1/jobs/{job_id}/result",
        }


async def test_a_missed_event_delays_and_loses_nothing(serve, blip):
    async with serve() as (api, port):
        job_id = await api.new_job(blip)
        listener = asyncio.create_task(all_of(port, job_id))
        await until(lambda: api.service.results._waiters)
        await complete(api, job_id, event=False)
        assert (await listener)[-1].event == "result"


async def test_a_reader_goes_on_with_a_process_that_knows_no_progress_yet(serve, blip):
    """That a job runs is a hint which a new process has not got: its reader is not told that the job is queued again."""
    async with serve() as (api, port):
        job_id = await api.new_job(blip)
        listener = asyncio.create_task(all_of(port, job_id, "running/0.5000/embedding"))
        await until(lambda: api.service.results._waiters)
        await asyncio.gather(*(api.client.get(f"/api/v1/jobs/{job_id}") for _ in range(3)))
        await complete(api, job_id)
        assert said(await listener) == [("state", "succeeded"), ("result", "")]


async def test_a_reader_hears_that_a_job_waits_for_its_next_try(serve, blip):
    async with serve() as (api, port):
        job_id = await api.new_job(blip)
        mark = api.records.mark(job_id, "live")
        api.records.put_mark(job_id, "live", mark.model_copy(update={"topic": Topic.JOBS_RETRY, "attempt": 1}))
        async with listening(port, job_id, "running/0.5000/embedding") as response:
            assert said([await anext(parsed(response.aiter_lines()))]) == [("state", "queued")]


async def test_an_end_that_was_not_ours_is_not_taken_for_one(serve, blip):
    async with serve() as (api, port):
        job_id = await api.new_job(blip)
        async with listening(port, job_id, "result") as response:
            assert said([await anext(parsed(response.aiter_lines()))]) == [("state", "queued")]


async def test_silence_is_filled(serve, blip, monkeypatch):
    monkeypatch.setattr(event_stream, "HEARTBEAT", 0.0)
    async with serve() as (api, port):
        job_id = await api.new_job(blip)
        async with listening(port, job_id) as response:
            lines = response.aiter_lines()
            assert await anext(lines) == "retry: 2000"
            while not (await anext(lines)).startswith(":"):
                pass


async def test_an_erased_job_ends_its_streams(serve, blip):
    async with serve() as (api, port):
        job_id = await api.new_job(blip)
        listener = asyncio.create_task(all_of(port, job_id))
        await until(lambda: api.service.results._waiters)
        api.records.erase(job_id)
        api.service.results.wake(job_id, "live")
        assert "succeeded" not in str(said(await listener))
        async with listening(port, job_id) as response:
            assert response.status_code == 404


async def test_a_service_that_stops_ends_its_streams(serve, blip):
    async with serve() as (api, port):
        job_id = await api.new_job(blip)
        listener = asyncio.create_task(all_of(port, job_id))
        await until(lambda: api.service.results._waiters)
        api.service.results.release()
        assert {event for event, _ in said(await listener)} <= {"state"}


async def test_streams_are_bounded_and_a_reader_who_left_counts_no_more(serve, blip, monkeypatch):
    monkeypatch.setattr(results, "MAX_STREAMS", 1)
    async with serve() as (api, port):
        job_id = await api.new_job(blip)
        async with listening(port, job_id) as first:
            await anext(parsed(first.aiter_lines()))
            is_problem(await api.client.get(f"/api/v1/jobs/{job_id}/events"), 503, "busy")
        await until(lambda: not api.service.results._waiters)
        async with listening(port, job_id) as again:
            assert again.status_code == 200


async def test_a_reader_who_takes_nothing_is_left(serve, blip, monkeypatch):
    monkeypatch.setattr(event_stream, "STALL", 0.2)
    monkeypatch.setattr(event_stream, "INLINE", 1 << 30)
    async with serve() as (api, port):
        job_id = await api.new_job(blip)
        large = result(job_id).model_copy(update={"warnings": ["x" * 1000] * 20_000})
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.write(f"GET /api/v1/jobs/{job_id}/events HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\n\r\n".encode())
        await until(lambda: api.service.results._waiters)
        api.records.put_result(job_id, "live", large)
        api.service.results.wake(job_id, "live")
        await until(lambda: not api.service.results._waiters, 30)
        writer.close()


async def test_events_are_the_owners(api, blip):
    job_id = await api.new_job(blip)
    for headers, path in (({"x-api-key": OTHER_KEY}, job_id), ({}, UNKNOWN), ({}, f"{job_id}x")):
        is_problem(await api.client.get(f"/api/v1/jobs/{path}/events", headers=headers), 404, "job_not_found")
    is_problem(await api.client.get(f"/api/v1/jobs/{job_id}/events?run=no"), 404, "job_not_found")
    is_problem(await api.client.get(f"/api/v1/jobs/{job_id}/events?run=No!"), 422, "invalid_request")


async def test_head_is_answered_and_over(serve, blip):
    async with serve() as (api, port), httpx.AsyncClient(timeout=30) as client:
        job_id = await api.new_job(blip)
        answer = await client.head(f"http://127.0.0.1:{port}/api/v1/jobs/{job_id}/events", headers={"x-api-key": KEY})
        assert (answer.status_code, answer.content) == (200, b"")
        await until(lambda: not api.service.results._waiters)


# The events of a job, whatever becomes of it and wherever its reader breaks off

VIEW = {
    "id": "019a1c2e-7c00-7000-8000-000000000000",
    "operation": "diarize",
    "lane": "batch",
    "params": {},
    "created_at": "2026-01-01T00:00:00Z",
}
PROGRESS = st.builds(
    Progress, stage=st.sampled_from(["load", "a b/c", "é\n"]), fraction=st.integers(0, 4).map(lambda n: n / 4)
)
VIEWS = st.one_of(
    st.builds(lambda ahead: JobView(**VIEW, state=JobState.QUEUED, ahead=ahead), st.none() | st.integers(0, 3)),
    st.builds(lambda progress: JobView(**VIEW, state=JobState.RUNNING, progress=progress), PROGRESS),
    st.sampled_from([JobView(**VIEW, state=state) for state in JobState if state.ended]),
)


@given(st.lists(VIEWS, max_size=12), st.sets(st.integers(0, 12)))
def test_a_reader_who_comes_back_gets_what_one_who_stayed_gets(views: list[JobView], breaks: set[int]):
    """The state of a stream is the id of its last event, so a reader may break off after each of them."""
    seen, ids = "", []
    for view in views:
        told = list(news(view, seen))
        assert list(news(view, seen)) == told
        for event in told:
            assert "\n" not in event.id and event.written().endswith(b"\n\n")
            seen = event.id
            ids.append(seen)
        assert list(news(view, seen)) == [], "what was told is not told again"
        assert seen.partition("/")[0] == view.state
    assert all(first != second for first, second in pairwise(ids))


def test_the_last_events_are_those_of_an_end():
    ends = {state.value for state in JobState if state.ended}
    assert ends - {JobState.SUCCEEDED} | {"result"} == LAST

"""The API's metrics, as Prometheus reads them, and their table in docs/metrics.md."""

import asyncio
from datetime import UTC, datetime, timedelta

from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from producer_api.census import Census
from producer_api.metrics import Metrics
from producer_api.webhooks import deliverer
from schemas.topics import Layout, Topic
from tests.support.api import Api, multipart, until
from tests.support.metrics import documented, exported, samples
from tests.support.webhooks import Bench, Clock
from turnstream.object_store.memory import MemoryStore
from turnstream.records import Mark, MarkState

NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def read(api: Api) -> dict[str, float]:
    """Samples by name and labels, without a key."""
    response = await api.client.get("/metrics", headers={"x-api-key": ""})
    assert response.status_code == 200
    return samples(response.text)


def mark(layout: Layout, age: float, *, state: MarkState = MarkState.QUEUED, topic: str = Topic.JOBS) -> Mark:
    at = NOW - timedelta(seconds=age)
    return Mark(state=state, at=at, topic=topic, partition=layout.slot["diarize/batch"], offset=0)


async def test_the_table_is_what_the_api_serves(api, blip):
    job = api.records.job(await api.new_job(blip))
    await api.client.get("/nowhere")
    metrics, census = api.service.metrics, Census(api.service.watch.layout, NOW)
    census.count(mark(api.service.watch.layout, 5))
    metrics.published(job, "sweep")
    metrics.swept({"publish": 1}, 0.1, census)
    metrics.webhook_tried("delivered", 0.1)
    served = exported(text_string_to_metric_families((await api.client.get("/metrics")).text))
    assert sorted(documented("Of the API")) == sorted(served)


async def test_each_reader_gets_the_format_it_asks_for(api):
    plain = await api.client.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=")
    modern = await api.client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert modern.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert any(family.name == "turnstream_http_requests" for family in read_openmetrics(modern.text))


async def test_calls_count_by_route_and_never_by_address(api):
    for path in ("/api/v1/jobs/one", "/api/v1/jobs/two", "/nowhere", "/elsewhere/at/all"):
        await api.client.get(path)
    await api.client.request("BREW", "/healthz")
    found = await read(api)
    prefix = "turnstream_http_requests_total"
    assert found[f"{prefix}{{method=GET,route=/api/v1/jobs/{{job_id}},status=404}}"] == 2
    assert found[f"{prefix}{{method=GET,route=other,status=404}}"] == 2
    assert found[f"{prefix}{{method=other,route=/healthz,status=405}}"] == 1
    assert found["turnstream_http_requests_open"] == 1  # the scrape itself
    assert not any("one" in name.split("route=")[-1] for name in found if "http_request" in name)


async def test_problems_count_by_code_also_those_of_calls_that_never_came_to_their_route(api):
    await api.client.get("/api/v1/jobs", headers={"x-api-key": "wrong"})
    await api.client.get("/api/v1/jobs/one")
    await api.client.head("/api/v1/jobs/one")
    found = await read(api)
    assert found["turnstream_problems_total{code=unauthorized,route=/api/v1/jobs}"] == 1
    assert found["turnstream_problems_total{code=job_not_found,route=/api/v1/jobs/{job_id}}"] == 2
    assert found["turnstream_http_requests_total{method=HEAD,route=/api/v1/jobs/{job_id},status=404}"] == 1


async def test_an_upload_and_what_it_leads_to(api, blip):
    body, headers = multipart(("audio", "a.wav", blip.read_bytes()), ("lane", None, b"batch"))
    assert (await api.client.post("/api/v1/jobs", content=body, headers=headers)).status_code == 202
    found = await read(api)
    assert found["turnstream_upload_bytes_total"] == len(body)
    assert found["turnstream_upload_seconds_count"] == 1
    assert found["turnstream_jobs_published_total{by=call,lane=batch,operation=diarize}"] == 1
    assert found["turnstream_broker_ready"] == 1
    assert found["turnstream_topics_found_total"] == 1
    await api.service.sweeper.sweep()
    found = await read(api)
    assert found["turnstream_pending_runs{lane=batch,operation=diarize}"] == 1
    assert found["turnstream_marks{state=queued}"] == 1
    assert found["turnstream_last_sweep_timestamp_seconds"] > 0
    assert found["turnstream_swept_total{action=leave}"] >= 1


async def test_what_is_pending_is_told_by_the_process_that_sweeps(api):
    layout = api.service.watch.layout
    census = Census(layout, NOW)
    for each in (
        mark(layout, 5),
        mark(layout, 7.5),
        mark(layout, 100, topic=Topic.JOBS_RETRY),
        mark(layout, 100, state=MarkState.ACCEPTING),
    ):
        census.count(each)
    metrics = api.service.metrics
    metrics.swept({}, 0.1, census)
    found = await read(api)
    assert found["turnstream_pending_runs{lane=batch,operation=diarize}"] == 2
    assert found["turnstream_oldest_pending_seconds{lane=batch,operation=diarize}"] == 7.5
    states = {
        state: found[f"turnstream_marks{{state={state}}}"] for state in ("accepting", "queued", "retrying", "erasing")
    }
    assert states == {"accepting": 1, "queued": 2, "retrying": 1, "erasing": 0}
    metrics.not_sweeping()
    assert not any(
        name.startswith(("turnstream_pending", "turnstream_oldest", "turnstream_marks")) for name in await read(api)
    )


def test_a_partition_tells_whose_it_is():
    layout = Layout(groups=3).including(["diarize", "transcribe"])
    for place, slot in layout.slot.items():
        assert "/".join(layout.place(2 * layout.slots + slot)) == place
    assert layout.place(layout.slots - 1) is None


async def test_who_does_not_deliver_any_more_says_nothing_of_what_is_due(monkeypatch):
    monkeypatch.setattr(deliverer, "LEASE", 0.0)
    bench, metrics = Bench(MemoryStore(), Clock()), Metrics()
    leader = bench.deliverer(metrics)
    try:
        await leader.turn()
        metrics.webhooks_due(3, 600.0)
        assert bench.records.take_lease(deliverer.LEASE_NAME, "another", 60)
        await leader.turn()
        found = samples(metrics.exposition("")[0].decode())
        assert found["turnstream_webhook_oldest_due_seconds"] == found["turnstream_webhooks_due"] == 0
    finally:
        await leader.close(0)


async def test_a_call_whose_caller_left_is_counted_too(api, blip):
    waiting = asyncio.create_task(
        api.client.post("/api/v1/diarize/file", files={"audio": ("a.wav", blip.read_bytes())})
    )
    await until(lambda: api.service.results.waiting)
    assert (await read(api))["turnstream_callers_waiting"] == 1
    waiting.cancel()
    await asyncio.wait([waiting])
    found = await read(api)
    assert found["turnstream_http_requests_open"] == 1  # the scrape itself
    assert found["turnstream_http_requests_total{method=POST,route=/api/v1/diarize/file,status=499}"] == 1

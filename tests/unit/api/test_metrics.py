"""The API's metrics, as Prometheus reads them."""

import asyncio

from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from tests.support.api import Api


async def read(api: Api) -> dict[str, float]:
    """Samples by name and labels, without a key."""
    response = await api.client.get("/metrics", headers={"x-api-key": ""})
    assert response.status_code == 200
    found = {}
    for family in text_string_to_metric_families(response.text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


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


async def test_a_call_whose_caller_left_is_counted_too(api):
    reader = asyncio.create_task(api.client.get("/metrics"))
    reader.cancel()
    await asyncio.wait([reader])
    assert (await read(api))["turnstream_http_requests_open"] == 1

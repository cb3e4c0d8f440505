"""The worker's address for probes, asked over HTTP."""

import socket

import httpx
import pytest

from processor import probes
from processor.metrics import Metrics
from schemas.errors import PortTaken


async def test_metrics_health_and_readiness():
    metrics, trouble = Metrics(), "not ready"
    metrics.swapped()
    async with probes.serve("127.0.0.1", 0, metrics, lambda: trouble) as url, httpx.AsyncClient(base_url=url) as client:
        told = await client.get("/metrics")
        assert told.headers["content-type"].startswith("text/plain; version=")
        assert "turnstream_swaps_total 1.0" in told.text.splitlines()
        modern = await client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
        assert modern.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        assert (await client.get("/healthz")).status_code == 200
        refused = await client.get("/readyz")
        assert (refused.status_code, refused.text) == (503, "not ready\n")
        trouble = "stuck: 7 records behind, none settled for 301 s"
        assert (await client.get("/readyz")).text == f"{trouble}\n"
        trouble = None
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.get("/")).status_code == 404


async def test_a_taken_port_is_said():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortTaken, match=f"127.0.0.1:{port} .* set METRICS_PORT"):
            async with probes.serve("127.0.0.1", port, Metrics(), lambda: None):
                pass

"""HEAD on a stream: its head is all there is to say, and nobody goes on listening for a caller who has been answered."""

import httpx

from tests.support.api import KEY, until


async def test_a_head_of_a_stream_ends_at_once_though_the_stream_would_not(serve, blip):
    async with serve() as (api, port):
        base = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=base, headers={"x-api-key": KEY}) as client:
            job_id = await api.new_job(blip)
            answer = await client.head(f"/api/v1/jobs/{job_id}/events")
            assert (answer.status_code, answer.content) == (200, b"")
            assert answer.headers["content-type"].startswith("text/event-stream")
            await until(lambda: not api.service.results.streaming)
            assert (await client.get("/healthz")).status_code == 200

"""Key, flag and size are looked at before the body is."""

import pytest

from producer_api.app import create_app
from schemas.errors import SettingsInvalid
from tests.support.api import KEY, OTHER_KEY, is_problem, multipart
from turnstream.settings import ANONYMOUS, Settings, key_id


async def untouched():
    raise AssertionError("the body was read")
    yield b""


@pytest.mark.parametrize(
    "headers", [{"x-api-key": KEY}, {"authorization": f"Bearer {KEY}"}, {"authorization": f"bearer {KEY}"}]
)
async def test_a_key_is_taken_from_either_header(api, headers):
    api.client.headers.pop("x-api-key")
    assert (await api.client.get("/api/v1/jobs", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": ""},
        {"x-api-key": "wrong"},
        {"x-api-key": f"{KEY},{OTHER_KEY}"},
        {"x-api-key": "schlüssel".encode()},
        {"authorization": f"Basic {KEY}"},
        {"authorization": "Bearer"},
    ],
)
@pytest.mark.parametrize("method, path", [("GET", "/api/v1/jobs"), ("GET", "/nowhere"), ("DELETE", "/healthz/")])
async def test_without_a_valid_key_nothing_is_told(api, headers, method, path):
    api.client.headers.pop("x-api-key")
    response = await api.client.request(method, path, headers=headers)
    is_problem(response, 401, "unauthorized")
    assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs", "/openapi.json"])
async def test_some_pages_need_no_key(api, path):
    api.client.headers.pop("x-api-key")
    assert (await api.client.get(path)).status_code == 200


async def test_jobs_belong_to_the_key(api, blip):
    job_id = await api.new_job(blip)
    assert api.records.job(job_id).owner == key_id(KEY)
    assert key_id(KEY) != KEY


@pytest.mark.parametrize("path", ["/api/v1/jobs", "/api/v1/diarize/file"])
async def test_what_is_switched_off_is_refused(start, path):
    async with start(enable_diarization=False) as api:
        response = await api.client.post(path, content=multipart()[0], headers=multipart()[1])
        assert "ENABLE_DIARIZATION" in is_problem(response, 503, "operation_disabled")["detail"]
        api.assert_nothing_stays()
        assert (await api.client.get("/api/v1/jobs")).status_code == 200


async def test_switched_off_or_not_is_told_to_no_stranger(start):
    async with start(enable_diarization=False) as api:
        is_problem(await api.client.post("/api/v1/jobs", headers={"x-api-key": "wrong"}), 401, "unauthorized")


async def test_a_content_length_over_the_limit_is_refused(start):
    async with start(max_upload_bytes=1000) as api:
        headers = multipart()[1] | {"content-length": str(10**9)}
        response = await api.client.post("/api/v1/jobs", content=b"", headers=headers)
        assert is_problem(response, 413, "upload_too_large")["limit"] == 1000
        assert response.headers["connection"] == "close"
        api.assert_nothing_stays()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "example.org", "::"])
def test_without_a_key_it_does_not_serve_other_machines(host, tmp_path):
    with pytest.raises(SettingsInvalid, match=f"HOST={host}"):
        create_app(Settings(_env_file=None, host=host, data_dir=tmp_path))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_without_a_key_it_serves_this_machine_and_says_so(start, blip, caplog, host):
    async with start(api_key=None, host=host) as api:
        api.client.headers.pop("x-api-key")
        job_id = await api.new_job(blip)
        assert api.records.job(job_id).owner == ANONYMOUS
    assert f"HOST={host}" in caplog.text

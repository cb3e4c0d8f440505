"""Which format and which turns a caller gets of a result."""

import pytest

from schemas.results import Segment
from tests.support.api import is_problem, result


@pytest.fixture
async def url(api, blip) -> str:
    """Of the result of a recording in which two talk at once."""
    job_id = await api.new_job(blip)
    turns = [Segment(speaker="A", start=0, end=2), Segment(speaker="B", start=1, end=3)]
    alone = [turns[0], Segment(speaker="B", start=2, end=3)]
    found = result(job_id).model_copy(update={"segments": turns, "exclusive_segments": alone})
    api.records.put_result(job_id, "live", found)
    return f"/api/v1/jobs/{job_id}/result"


@pytest.mark.parametrize(
    ("asked", "starts"),
    [
        ({}, "00:00:01.000"),
        ({"turns": "overlapping"}, "00:00:01.000"),
        ({"turns": "exclusive"}, "00:00:02.000"),
    ],
)
async def test_the_turns_that_are_asked_for(api, url, asked, starts):
    answer = await api.client.get(url, params=asked, headers={"accept": "text/vtt, */*;q=0.1"})
    assert answer.headers["content-type"] == "text/vtt; charset=utf-8"
    assert answer.text.endswith(f"\n{starts} --> 00:00:03.000\n<v B>B\n")


async def test_where_there_is_nothing_to_choose_that_is_said(api, url):
    document = is_problem(await api.client.get(url, params={"turns": "exclusive"}), 422, "invalid_request")
    assert "application/json" in document["detail"]
    is_problem(await api.client.get(url, params={"turns": "some", "format": "rttm"}), 422, "invalid_request")


async def test_a_format_that_is_not_there_is_refused_with_those_that_are(api, url):
    document = is_problem(await api.client.get(url, headers={"accept": "image/png"}), 406, "not_acceptable")
    assert document["formats"] == ["json", "rttm", "csv", "srt", "vtt"]
    assert document["media_types"][:2] == ["application/json", "text/x-rttm"]

"""Every failure is a problem document, also those nobody expected."""

import pytest
from starlette.exceptions import HTTPException

from producer_api.problems import declare, understood
from schemas.errors import InternalError, error_classes
from tests.support.api import is_problem


async def test_an_unknown_address(api):
    assert is_problem(await api.client.get("/api/v2/jobs"), 404, "not_found")["instance"] == "/api/v2/jobs"


async def test_a_method_that_is_not_taken(api):
    response = await api.client.put("/api/v1/jobs")
    is_problem(response, 405, "method_not_allowed")
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}
    # Starlette keeps methods in a set: their order is another in each process.
    assert set((await api.client.put("/docs")).headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "after=../../x"])
async def test_a_bad_query(api, query):
    document = is_problem(await api.client.get(f"/api/v1/jobs?{query}"), 422, "invalid_request")
    assert [error["field"] for error in document["errors"]] == [query.partition("=")[0]]


async def test_the_unexpected_is_logged_and_tells_nothing(api, monkeypatch, caplog):
    def broken(*_, **__):
        raise RuntimeError("secret of the house")

    monkeypatch.setattr(api.records, "jobs", broken)
    response = await api.client.get("/api/v1/jobs")
    is_problem(response, 500, "internal_error")
    assert "secret" not in response.text
    assert "secret of the house" in caplog.text


def test_every_error_can_be_declared():
    classes = list(error_classes())
    declared = declare(*classes)
    codes = {code for entry in declared.values() for code in entry["content"]["application/problem+json"]["examples"]}
    assert codes == {cls.code for cls in classes}


def test_what_starlette_says_of_a_caller_is_not_our_fault():
    assert understood(HTTPException(400)).code == "invalid_request"
    assert isinstance(understood(HTTPException(502)), InternalError)

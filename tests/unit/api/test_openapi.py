"""The API's description: complete, and the one that is committed."""

import json
from pathlib import Path

import pytest

from schemas.errors import error_classes
from schemas.jobs import DiarizeParams
from turnstream.operations import installed

COMMITTED = Path(__file__).parents[3] / "docs" / "openapi.json"
METHODS = {"get", "post", "delete"}


@pytest.fixture
async def document(api) -> dict:
    return (await api.client.get("/openapi.json")).json()


async def test_the_committed_description_is_the_one_that_is_served(document):
    assert json.loads(COMMITTED.read_text()) == document, "run: python -m producer_api.describe > docs/openapi.json"


async def test_every_reference_leads_somewhere(document):
    def references(node):
        if isinstance(node, dict):
            yield from [node["$ref"]] if "$ref" in node else []
            yield from (found for value in node.values() for found in references(value))
        elif isinstance(node, list):
            yield from (found for value in node for found in references(value))

    names = {reference.removeprefix("#/components/schemas/") for reference in references(document)}
    assert "Problem" in names
    assert names <= set(document["components"]["schemas"])


async def test_every_failure_is_declared_as_a_problem_with_a_known_code(document):
    known = {cls.code for cls in error_classes()}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert method in METHODS
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert list(response["content"]) == ["application/problem+json"], (path, status)
                    assert set(response["content"]["application/problem+json"]["examples"]) <= known


def form(document, path: str) -> dict:
    return document["paths"][path]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]


async def test_forms_are_described_although_they_are_parsed_by_hand(document):
    fields = form(document, "/api/v1/jobs")["properties"]
    speakers = set(DiarizeParams.model_fields)
    params = {name for operation in installed().values() for name in operation.params.model_fields}
    assert fields.keys() == {"audio", "operation", "lane", "webhook_url"} | params > speakers
    assert fields["operation"]["enum"] == ["diarize", "transcribe", "transcript"]
    assert fields["max_speakers"]["description"] == "diarize, transcript: at most so many speakers"
    assert fields["language"]["description"].startswith("transcribe, transcript: ")
    assert form(document, "/api/v1/diarize/file")["properties"].keys() == {"audio", "webhook_url"} | speakers


async def test_results_are_described_in_every_format_of_every_operation(document):
    call = document["paths"]["/api/v1/jobs/{job_id}/result"]["get"]
    content = call["responses"]["200"]["content"]
    for operation in installed().values():
        assert {known.media_type for known in operation.formats.values()} <= content.keys()
        reference = {"$ref": f"#/components/schemas/{operation.result.__name__}"}
        assert reference in content["application/json"]["schema"]["anyOf"]
        [parameter] = [parameter for parameter in call["parameters"] if parameter["name"] == "format"]
        assert f"{operation.name}: {', '.join(operation.formats)}" in parameter["description"]
        operation.result.model_validate(content["application/json"]["examples"][operation.name]["value"])
    assert content["text/vtt"]["examples"]["transcript"]["value"].startswith("WEBVTT")
    assert "examples" not in call


async def test_only_health_needs_no_key(document):
    open_paths = {
        path for path, operations in document["paths"].items() for op in operations.values() if not op["security"]
    }
    assert open_paths == {"/healthz", "/readyz", "/metrics"}

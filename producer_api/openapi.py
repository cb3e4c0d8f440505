"""The parts of the API's description that its code does not say by itself: the forms, the examples, the keys."""

from typing import Any

from fastapi import FastAPI

from producer_api.auth import PUBLIC
from producer_api.problems import Problem
from schemas.formats import FORMATS
from schemas.jobs import DiarizeParams, Lane, Operation

DESCRIPTION = """Who spoke when, for audio files.

`POST /api/v1/diarize/file` answers with the turns; `POST /api/v1/jobs` hands a job in and answers at once. Every call but those
under *health* needs a key, as `x-api-key` or as `Authorization: Bearer`. Every error is an `application/problem+json`
document (RFC 9457) with a stable `code`. In forms an empty value means the same as an absent field.
"""

RESULT_EXAMPLE: dict[str, Any] = {
    "job_id": "019a1c2e-7c00-7000-8000-000000000000",
    "run": "live",
    "segments": [
        {"speaker": "SPEAKER_00", "start": 0.12, "end": 4.56},
        {"speaker": "SPEAKER_01", "start": 4.4, "end": 7.25},
    ],
    "exclusive_segments": [
        {"speaker": "SPEAKER_00", "start": 0.12, "end": 4.4},
        {"speaker": "SPEAKER_01", "start": 4.4, "end": 7.25},
    ],
    "num_speakers": 2,
    "speakers": ["SPEAKER_00", "SPEAKER_01"],
    "performance": 1.25,
    "timings": {
        "queue": 0.01,
        "decode": 0.05,
        "load": 0.0,
        "segmentation": 0.3,
        "embedding": 0.85,
        "clustering": 0.05,
        "total": 1.25,
    },
    "warnings": [],
    "audio": {"duration": 8.0, "sha256": "e3b0c44298fc1c14...", "sample_rate": 16000, "channels": 1},
    "model": {
        "name": "pyannote/speaker-diarization-community-1",
        "source": "hub",
        "mode": "exact",
        "device": "cpu",
        "revision": "3f2a9c01d4e5",
    },
}
RTTM_EXAMPLE = (
    "SPEAKER 019a1c2e-7c00-7000-8000-000000000000 1 0.120 4.440 <NA> <NA> SPEAKER_00 <NA> <NA>\n"
    "SPEAKER 019a1c2e-7c00-7000-8000-000000000000 1 4.400 2.850 <NA> <NA> SPEAKER_01 <NA> <NA>\n"
)
RESULT_CONTENT: dict[str, Any] = {
    FORMATS["json"][0]: {"example": RESULT_EXAMPLE},
    FORMATS["rttm"][0]: {"schema": {"type": "string"}, "example": RTTM_EXAMPLE},
}


def _form(*, more: dict[str, Any] | None = None) -> dict[str, Any]:
    audio = {"type": "string", "format": "binary", "description": "the recording; `file` is another name of this field"}
    fields = {"audio": audio, **(more or {}), **DiarizeParams.model_json_schema()["properties"]}
    schema = {"type": "object", "required": ["audio"], "properties": fields, "additionalProperties": False}
    example = {"audio": "meeting.wav", "min_speakers": 1, "max_speakers": 5}
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema, "example": example}}}
    }


DIARIZE_FORM = _form()
JOB_FORM = _form(
    more={
        "operation": {"type": "string", "enum": list(Operation), "default": Operation.DIARIZE},
        "lane": {
            "type": "string",
            "enum": list(Lane),
            "default": Lane.INTERACTIVE,
            "description": "interactive: somebody waits; batch: it may wait behind those",
        },
    }
)


def complete(app: FastAPI) -> None:
    """Add to the application's document what FastAPI cannot know."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        components = document.setdefault("components", {})
        components.setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
        components["securitySchemes"] = {
            "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            "bearer": {"type": "http", "scheme": "bearer"},
        }
        for path, operations in document["paths"].items():
            for operation in operations.values():
                operation["security"] = [] if path in PUBLIC else [{"key": []}, {"bearer": []}]
                # Our own answer to a bad parameter is declared as a problem; FastAPI's is never given.
                operation["responses"].get("422", {}).get("content", {}).pop("application/json", None)
        for unused in ("HTTPValidationError", "ValidationError"):
            components["schemas"].pop(unused, None)
        return document

    app.openapi = openapi

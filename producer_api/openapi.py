"""The parts of the API's description that its code does not say by itself: the forms, the results, the examples, the keys.

What belongs to an operation is read off the operation.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from producer_api.auth import PUBLIC
from producer_api.problems import Problem
from producer_api.webhooks.guard import MAX_URL
from schemas.jobs import DEFAULT_OPERATION, LIVE_RUN, RUN_NAME, Lane
from schemas.operation import Operation
from schemas.operations import DIARIZE
from turnstream.operations import Operations

DESCRIPTION = """Who spoke when, and who said what, for audio files.

`POST /api/v1/diarize/file` answers with the turns; `POST /api/v1/jobs` hands a job of any operation in and answers at once.
Every call but those under *health* needs a key, as `x-api-key` or as `Authorization: Bearer`. Every error is an
`application/problem+json` document (RFC 9457) with a stable `code`. In forms an empty value means the same as an absent
field, but for the form of a further run, where it takes back what the job says.
"""
JOB_ID = "019a1c2e-7c00-7000-8000-000000000000"
REFERENCE = "#/components/schemas/{model}"
Schema = dict[str, Any]


def complete(app: FastAPI, operations: Operations) -> None:
    """Add to the application's document what FastAPI cannot know."""
    generate = app.openapi

    def openapi() -> Schema:
        if app.openapi_schema is not None:
            return app.openapi_schema
        document = generate()
        results, models = _result_schemas(operations.values())
        models |= _param_schemas(operations.values()) | {"Problem": Problem.model_json_schema()}
        components = document.setdefault("components", {})
        components["schemas"] = components.get("schemas", {}) | models
        components["securitySchemes"] = {
            "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            "bearer": {"type": "http", "scheme": "bearer"},
        }
        paths = document["paths"]
        paths["/api/v1/jobs"]["post"] |= job_form(operations.values())
        paths["/api/v1/jobs/{job_id}/runs"]["post"] |= run_form(operations.values())
        _describe_result(paths["/api/v1/jobs/{job_id}/result"]["get"], operations.values(), results)
        for path, calls in paths.items():
            for call in calls.values():
                call["security"] = [] if path in PUBLIC else [{"key": []}, {"bearer": []}]
                # Our own answer to a bad parameter is declared as a problem; FastAPI's is never given.
                call["responses"].get("422", {}).get("content", {}).pop("application/json", None)
        for unused in ("HTTPValidationError", "ValidationError"):
            components["schemas"].pop(unused, None)
        return document

    app.openapi = openapi


def example(operation: Operation) -> Schema:
    """What a result of this operation looks like."""
    return {"job_id": JOB_ID, "run": LIVE_RUN, **operation.example}


# The forms


def diarize_form() -> Schema:
    fields = {"audio": _audio(), **_params(DIARIZE), "webhook_url": _webhook()}
    return _form(fields, required=["audio"], examples={"five": {"audio": "meeting.wav", "max_speakers": 5}})


def job_form(operations: Iterable[Operation]) -> Schema:
    """One form for all operations, because browsers of such documents show no others: each field tells whose it is."""
    operations = tuple(operations)
    listening = [operation for operation in operations if operation.audio]
    fields: dict[str, Schema] = {
        "audio": _audio(listening if len(listening) < len(operations) else ()),
        "operation": {
            "type": "string",
            "enum": [operation.name for operation in operations],
            "default": DEFAULT_OPERATION,
            "description": "; ".join(f"{operation.name}: {operation.summary}" for operation in operations),
        },
        "lane": {
            "type": "string",
            "enum": list(Lane),
            "default": Lane.INTERACTIVE,
            "description": "interactive: somebody waits; batch: it may wait behind those",
        },
        "webhook_url": _webhook(),
    }
    fields |= _all_params(operations)
    examples = {
        operation.name: {**({"audio": "meeting.wav"} if operation.audio else {}), "operation": operation.name}
        for operation in operations
    }
    return _form(fields, required=["audio"] if len(listening) == len(operations) else [], examples=examples)


def run_form(operations: Iterable[Operation]) -> Schema:
    name = {
        "type": "string",
        "pattern": RUN_NAME,
        "description": "of the run; by default the next of run-2, run-3 and so on",
    }
    # What is absent stays as the job has it: a client that fills in defaults would undo it.
    params = {
        field: {key: value for key, value in schema.items() if key != "default"}
        for field, schema in _all_params(tuple(operations)).items()
    }
    fields = {"run": name, "webhook_url": _webhook(), **params}
    return _form(fields, required=[], examples={"three speakers": {"num_speakers": 3}})


def _form(fields: Schema, *, required: list[str], examples: Mapping[str, Schema]) -> Schema:
    schema = {"type": "object", "required": required, "properties": fields, "additionalProperties": False}
    content = {"schema": schema, "examples": {name: {"value": value} for name, value in examples.items()}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": content}}}


def _audio(listening: Iterable[Operation] = ()) -> Schema:
    """`listening` are named as those that want a recording."""
    names = ", ".join(operation.name for operation in listening)
    says = "the recording; `file` is another name of this field"
    return {"type": "string", "format": "binary", "description": f"{names}: {says}" if names else says}


def _webhook() -> Schema:
    says = "where its end is told, signed as Standard Webhooks says; by default as the service is set (WEBHOOK_URL)"
    return {"type": "string", "format": "uri", "maxLength": MAX_URL, "description": says}


def _params(operation: Operation) -> Schema:
    return operation.params.model_json_schema(ref_template=REFERENCE).get("properties", {})


def _all_params(operations: tuple[Operation, ...]) -> Schema:
    names = dict.fromkeys(name for operation in operations for name in operation.params.model_fields)
    return {name: _shared(name, operations) for name in names}


def _param_schemas(operations: Iterable[Operation]) -> dict[str, Schema]:
    """What the fields of forms refer to."""
    found: dict[str, Schema] = {}
    for operation in operations:
        found |= operation.params.model_json_schema(ref_template=REFERENCE).get("$defs", {})
    return found


def _shared(name: str, operations: Iterable[Operation]) -> Schema:
    """A field of the form, after the names of the operations that take it; several kinds where they differ about it."""
    kinds: list[tuple[Schema, list[str]]] = []
    for operation in operations:
        if name not in operation.params.model_fields:
            continue
        schema = _params(operation)[name]
        for known, users in kinds:
            if known == schema:
                users.append(operation.name)
                break
        else:
            kinds.append((schema, [operation.name]))
    described = [
        schema | {"description": f"{', '.join(users)}: {schema.get('description', schema.get('title', name))}"}
        for schema, users in kinds
    ]
    return described[0] if len(described) == 1 else {"anyOf": described}


# The results


def _result_schemas(operations: Iterable[Operation]) -> tuple[dict[str, Schema], dict[str, Schema]]:
    """A reference for each operation by its name, and the schemas that these lead to."""
    operations = tuple(operations)
    references, schemas = models_json_schema(
        [(operation.result, "serialization") for operation in operations], ref_template=REFERENCE
    )
    by_name = {operation.name: references[operation.result, "serialization"] for operation in operations}
    return by_name, schemas["$defs"]


def _describe_result(call: Schema, operations: Iterable[Operation], schemas: Mapping[str, Schema]) -> None:
    """Each media type with an example from every operation that has it."""
    content: dict[str, Schema] = {}
    for operation in operations:
        written = operation.result.model_validate(example(operation))
        for format_ in operation.formats.values():
            text = format_.write(written)
            kind = content.setdefault(format_.media_type, {"schema": {"type": "string"}, "examples": {}})
            if isinstance(text, bytes):
                kind["schema"] = {"type": "string", "format": "binary"}
            elif format_.media_type == "application/json":
                kind["schema"] = {"anyOf": list(schemas.values())}
                kind["examples"][operation.name] = {"summary": operation.summary, "value": example(operation)}
            else:
                kind["examples"][operation.name] = {"summary": operation.summary, "value": text}
    for kind in content.values():
        if not kind["examples"]:
            del kind["examples"]
    call["responses"]["200"]["content"] = content
    [parameter] = [parameter for parameter in call["parameters"] if parameter["name"] == "format"]
    offered = "; ".join(f"{operation.name}: {', '.join(operation.formats)}" for operation in operations)
    parameter["description"] = f"{offered}. It goes before Accept"

"""What is on the topics, as an AsyncAPI document: https://www.asyncapi.com/docs/reference/specification/v3.0.0

Payloads are JSON Schema (of a kind that AsyncAPI's own dialect, draft 07, takes as well), headers are those of CloudEvents in
binary mode. It is written from the point of view of Turnstream: it sends what others receive.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from schemas.errors import error_classes
from schemas.events import CONTENT_TYPE, SPEC_VERSION
from schemas.published import JOB_ID, Published, Schema, published
from schemas.topics import Layout, Topic, TopicSpec

KAFKA_BINDING = "0.5.0"
REFERENCE = "#/components/schemas/{model}"
SENDS, RECEIVES = "send", "receive"
AGAIN, DEAD_LETTER = "turnstream.job.requested.v1 again", "dead letter"
"""Names of the two messages that are not published as such: records that came before, with headers of ours."""

DESCRIPTION = """The events of Turnstream on Kafka. Each is a CloudEvent in binary mode: attributes in headers, data as JSON.

Drop what you have had, by `ce_id`. Events of one job are in order. A result too large for an event is named by its object.
Within `.v1` fields, headers, event types and values of enumerations are added, and nothing is taken away or changes its meaning:
ignore what you do not know. docs/subscribe.md shows how to subscribe, with complete programs.
"""


class _Named(GenerateJsonSchema):
    """Names a completed event as its class is named, not as the kind of class that it is one of."""

    def normalize_name(self, name: str) -> str:
        return super().normalize_name(re.sub(r"^RunCompleted\[(\w+)Result\]$", r"\1Completed", name))


@dataclass(frozen=True, slots=True)
class Channel:
    name: str
    actions: tuple[str, ...]
    description: str


_RESULTS = "For whoever wants to know what became of jobs."
CHANNELS = {
    Topic.JOBS: Channel(
        "jobs",
        (SENDS, RECEIVES),
        "Jobs on their way from the API to the workers. Which partition a job has follows from its id, operation and lane; their "
        "number grows with the layout. Nobody else writes here.",
    ),
    Topic.JOBS_RETRY: Channel(
        "retries", (SENDS, RECEIVES), "Jobs that wait to be tried again: a partition for each delay."
    ),
    Topic.JOBS_DLQ: Channel(
        "deadLetters",
        (SENDS,),
        "Records that were set aside, as they came: key, value and headers, with headers that say why.",
    ),
    Topic.DIARIZATION_RESULTS: Channel("diarizationResults", (SENDS, RECEIVES), _RESULTS),
    Topic.TRANSCRIPTION_RESULTS: Channel("transcriptionResults", (SENDS, RECEIVES), _RESULTS),
    Topic.JOB_PROGRESS: Channel("progress", (SENDS, RECEIVES), "How far running jobs are."),
    Topic.JOB_CONTROL: Channel("control", (SENDS, RECEIVES), "What workers are asked to stop."),
}


def document(version: str) -> Schema:
    """The whole document, of this release."""
    events = published()
    references, schemas = models_json_schema(
        [(event.data, "serialization") for event in events], ref_template=REFERENCE, schema_generator=_Named
    )
    payloads = {event.name: references[event.data, "serialization"] for event in events}
    messages = {event.name: _message(event, payloads[event.name]) for event in events}
    [requested] = [event for event in events if event.topic == Topic.JOBS]
    messages[AGAIN] = _again(requested, payloads[requested.name])
    messages[DEAD_LETTER] = _dead_letter()
    specs = {spec.name: spec for spec in Layout().topics()}
    channels = {
        channel.name: _channel(topic, channel, specs[topic], _on(topic, events)) for topic, channel in CHANNELS.items()
    }
    operations = {
        f"{action}{channel.name[0].upper()}{channel.name[1:]}": {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel.name}"},
            "summary": channel.description,
        }
        for channel in CHANNELS.values()
        for action in channel.actions
    }
    return {
        "asyncapi": "3.0.0",
        "id": "urn:turnstream:events",
        "info": {
            "title": "Turnstream events",
            "version": version,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": {"kafka": _server()},
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": {_key(name): message for name, message in messages.items()},
            "schemas": {**schemas["$defs"], "CloudEventHeaders": _headers()},
        },
    }


def _on(topic: str, events: Iterable[Published]) -> list[str]:
    """The names of the messages of a topic."""
    match topic:
        case Topic.JOBS_RETRY:
            return [AGAIN]
        case Topic.JOBS_DLQ:
            return [DEAD_LETTER]
        case Topic.JOBS:
            return [*(event.name for event in events if event.topic == topic), AGAIN]
        case _:
            return [event.name for event in events if event.topic == topic]


def _key(name: str) -> str:
    """A message's name as a key of the document, which has letters, digits, dots and hyphens."""
    return name.replace(" ", "-")


def _server() -> Schema:
    return {
        "host": "{bootstrap}",
        "protocol": "kafka",
        "description": "KAFKA_BOOTSTRAP_SERVERS of the service; `turnstream up` prints the one it started. "
        "Read with isolation.level=read_committed.",
        "variables": {"bootstrap": {"default": "127.0.0.1:9092", "description": "host:port"}},
    }


def _channel(topic: str, channel: Channel, spec: TopicSpec, names: list[str]) -> Schema:
    return {
        "address": topic,
        "description": channel.description,
        "messages": {_key(name): {"$ref": f"#/components/messages/{_key(name)}"} for name in names},
        "bindings": {
            "kafka": {
                "topic": topic,
                "partitions": spec.partitions,
                "topicConfiguration": {"max.message.bytes": spec.max_message_bytes},
                "bindingVersion": KAFKA_BINDING,
            }
        },
    }


def _message(event: Published, payload: Schema) -> Schema:
    headers = {"ce_type": {"type": "string", "const": event.name}}
    return {
        "name": event.name,
        "title": event.summary,
        "summary": event.summary,
        "contentType": CONTENT_TYPE,
        "headers": _with(headers),
        "payload": payload,
        "correlationId": {"location": "$message.header#/ce_subject", "description": "the job's id"},
        "bindings": _keyed(),
        "examples": [
            {"name": _key(name), "headers": event.example_headers, "payload": dict(value)}
            for name, value in event.examples.items()
        ],
    }


def _again(event: Published, payload: Schema) -> Schema:
    """A job event after it was tried: on its way back, or waiting for that."""
    headers = {
        "attempt": {"type": "string", "pattern": "^[0-9]+$", "description": "how many retries it has had"},
        "error": {**_code(), "description": "code of the error of the last try"},
        "not_before": {"type": "string", "description": "seconds since 1970; where it waits"},
    }
    message = _message(event, payload)
    more = {"attempt": "1", "error": "engine_failed", "not_before": "1767323045.678"}
    for each in message["examples"]:
        each["headers"] |= more
    summary = "A job that is tried again"
    return message | {"title": summary, "summary": summary, "headers": _with(headers, required=["attempt"])}


def _dead_letter() -> Schema:
    headers = {
        "error": {**_code(), "description": "why it was set aside"},
        "detail": {"type": "string", "description": "the same for people"},
        "attempt": {"type": "string", "description": "how often it was tried"},
        "src": {"type": "string", "description": "topic/partition/offset where it lay"},
        "stored": {
            "type": "string",
            "const": "1",
            "description": "its value was too large: this one says where it is kept",
        },
    }
    return {
        "name": "dead letter",
        "title": "A record that was set aside",
        "summary": "The record as it came, whatever that was, beside its own headers with these",
        "headers": {"type": "object", "properties": headers, "required": ["error", "attempt", "src"]},
        "payload": {"description": "whatever it was"},
    }


def _code() -> Schema:
    return {"type": "string", "examples": sorted({cls.code for cls in error_classes()})[:3]}


def _keyed() -> Schema:
    key = {"type": "string", "format": "uuid", "description": "the job's id, as in `ce_subject`", "examples": [JOB_ID]}
    return {"kafka": {"key": key, "bindingVersion": KAFKA_BINDING}}


def _with(properties: Schema, required: Iterable[str] = ()) -> Schema:
    """The headers of every event, and these."""
    more: dict[str, Any] = {"type": "object", "properties": properties, "required": [*required]}
    if not more["required"]:
        del more["required"]
    return {"type": "object", "allOf": [{"$ref": "#/components/schemas/CloudEventHeaders"}, more]}


def _headers() -> Schema:
    """https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md"""
    said = {
        "ce_specversion": {"const": SPEC_VERSION, "description": "of CloudEvents"},
        "ce_id": {
            "description": "the same each time an event is sent: drop repeated ones by it. Of the end of a run: job id/run"
        },
        "ce_type": {"description": "what happened, and the version of the value's schema"},
        "ce_source": {"description": "which part of Turnstream says so"},
        "ce_subject": {"description": "the job's id"},
        "ce_time": {"format": "date-time", "description": "when"},
        "content-type": {"const": CONTENT_TYPE, "description": "of the value"},
        "traceparent": {
            "pattern": "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
            "description": "W3C Trace Context",
        },
    }
    properties = {name: {"type": "string", **more} for name, more in said.items()}
    return {"type": "object", "properties": properties, "required": [*properties]}

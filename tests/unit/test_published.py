"""What is published: described as it is committed, readable by other people's tools, and never taken back within v1."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator, FormatChecker

from schemas.asyncapi import CHANNELS, document
from schemas.describe import described
from schemas.errors import EventVersionUnknown
from schemas.events import Event
from schemas.published import Published, published
from schemas.topics import Topic
from tests.support.published import V1, Stored, as_cloudevent, stored_events

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EVENTS = {event.name: event for event in published()}
STORED = stored_events()
each_event = pytest.mark.parametrize("event", EVENTS.values(), ids=list(EVENTS))
each_stored = pytest.mark.parametrize("stored", STORED.values(), ids=list(STORED))


def valid(schema: dict[str, Any], value: Any) -> None:
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(value)


# The description


def test_what_is_committed_is_what_the_models_say():
    files = described()
    for name, text in files.items():
        committed = (DOCS / name).read_text() if (DOCS / name).exists() else ""
        assert committed == text, f"docs/{name}; run: python -m schemas.describe docs"
    assert {f"schemas/{path.name}" for path in (DOCS / "schemas").iterdir()} == {*files} - {"asyncapi.json"}


def test_the_asyncapi_document_is_one():
    definition = json.loads((ROOT / "tests/fixtures/asyncapi-3.0.0.schema.json").read_text())
    Draft7Validator(definition).validate(document("1.2.3"))
    broken = document("1.2.3")
    del broken["channels"]["jobs"]["messages"]["turnstream.job.requested.v1"]["$ref"]
    broken["channels"]["jobs"]["messages"]["turnstream.job.requested.v1"]["payload"] = 1
    assert not Draft7Validator(definition).is_valid(broken)


def test_every_reference_leads_somewhere():
    whole = document("1.2.3")

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            here = [node["$ref"]] if "$ref" in node else []
            return here + [found for value in node.values() for found in references(value)]
        return [found for value in node for found in references(value)] if isinstance(node, list) else []

    for reference in references(whole):
        target: Any = whole
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]


def test_every_topic_is_a_channel_and_every_event_is_on_its_topic():
    channels = {channel["address"]: channel for channel in document("1.2.3")["channels"].values()}
    assert channels.keys() == CHANNELS.keys() == {*Topic}
    for event in EVENTS.values():
        assert event.name in channels[event.topic]["messages"]


@each_event
def test_examples_are_what_the_schema_and_the_model_say(event: Published):
    message = document("1.2.3")["components"]["messages"][event.name]
    assert len(message["examples"]) == len(event.examples) > 0
    for example in message["examples"]:
        valid(event.schema, example["payload"])
        event.data.model_validate(example["payload"])
        headers = [(name, value.encode()) for name, value in example["headers"].items()]
        read = Event.parse(headers, json.dumps(example["payload"]).encode())
        assert dict(read.headers) == dict(headers)


def test_headers_are_described_as_they_are():
    whole = document("1.2.3")
    for stored in STORED.values():
        name = {"gpu-jobs.dlq": "dead-letter", "gpu-jobs.retry": "turnstream.job.requested.v1-again"}.get(stored.topic)
        message = whole["components"]["messages"][name or stored.type]
        valid({**message["headers"], "components": whole["components"]}, stored.headers)
        without = {key: value for key, value in stored.headers.items() if key not in {"ce_id", "src"}}
        with pytest.raises(Exception, match="is a required property"):
            valid({**message["headers"], "components": whole["components"]}, without)


def test_the_page_for_subscribers_names_what_there_is():
    page = (DOCS / "subscribe.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| (`turnstream\..*?) \| .* \|$", page, re.MULTILINE)
    told = {(topic, name) for topic, names in rows for name in re.findall(r"`([^`]+)`", names)}
    assert told == {(event.topic, event.name) for event in EVENTS.values()}
    [requested] = [event for event in EVENTS.values() if event.topic == Topic.JOBS]
    shown = re.findall(r"^\| (`(?:ce_|traceparent|content).*?) \|", page, re.MULTILINE)
    headers = {name for names in shown for name in re.findall(r"`([^`]+)`", names)}
    assert headers == requested.example_headers.keys()


# What the last release published


def test_there_is_a_record_of_every_event_and_of_every_topic():
    assert {stored.type for stored in STORED.values()} == EVENTS.keys()
    assert {stored.topic for stored in STORED.values()} == {*Topic}


@each_stored
def test_what_the_last_release_published_is_read(stored: Stored):
    event = Event.parse(stored.raw_headers, stored.value.encode())
    assert event.key == stored.key.encode()
    data = event.read(stored.type, EVENTS[stored.type].data)
    again = json.loads(data.model_dump_json(exclude_none=True, exclude_unset=True))
    assert again == stored.data, "and says what it said"
    valid(EVENTS[stored.type].schema, stored.data)


@each_stored
def test_the_cloudevents_library_reads_it(stored: Stored):
    ours = Event.parse(stored.raw_headers, stored.value.encode())
    theirs = as_cloudevent(stored.raw_headers, stored.key.encode(), stored.value.encode())
    assert (theirs.get_id(), theirs.get_type(), theirs.get_source(), theirs.get_subject(), theirs.get_time()) == (
        ours.id,
        ours.type,
        ours.source,
        ours.subject,
        ours.time,
    )
    assert (theirs.get_specversion(), theirs.get_datacontenttype()) == ("1.0", "application/json")
    assert theirs.get_data() == stored.data


@each_stored
def test_a_consumer_of_today_reads_what_has_grown(stored: Stored):
    grown = stored.grown()
    assert "added_later" in grown.value
    read = Event.parse(grown.raw_headers, grown.value.encode()).read(stored.type, EVENTS[stored.type].data)
    before = Event.parse(stored.raw_headers, stored.value.encode()).read(stored.type, EVENTS[stored.type].data)
    assert read == before
    valid(EVENTS[stored.type].schema, grown.data)


@each_stored
def test_the_next_version_is_told_from_this_one(stored: Stored):
    newer = replace(stored, headers={**stored.headers, "ce_type": stored.type.removesuffix("1") + "2"})
    with pytest.raises(EventVersionUnknown):
        Event.parse(newer.raw_headers, newer.value.encode()).read(stored.type, EVENTS[stored.type].data)


# A consumer of the last release


@each_event
def test_what_is_published_today_fits_the_schema_of_the_last_release(event: Published):
    path = V1 / "schemas" / f"{event.name}.json"
    if not path.exists():
        pytest.skip("an event that the last release did not have")
    before = json.loads(path.read_text())
    for example in event.examples.values():
        today = event.data.model_validate(example).model_dump_json(exclude_none=True)
        valid(before, json.loads(today))


@each_event
def test_nothing_that_was_promised_is_taken_away(event: Published):
    path = V1 / "schemas" / f"{event.name}.json"
    if path.exists():
        assert list(taken_away(json.loads(path.read_text()), event.schema)) == []


def taken_away(before: Any, now: Any, where: str = "") -> list[str]:
    """What a schema had that a later one has not: fields, promises that they are there, types, values of enumerations."""
    if not isinstance(before, dict):
        return []
    if not isinstance(now, dict):
        return [where]
    gone = [f"{where}/{name}" for name in before.get("properties", {}) if name not in now.get("properties", {})]
    gone += [
        f"{where}/{name} may be missing" for name in before.get("required", []) if name not in now.get("required", [])
    ]
    gone += [f"{where} {value}" for value in before.get("enum", []) if value not in now.get("enum", [])]
    if before.get("type") != now.get("type"):
        gone.append(f"{where} is {now.get('type')}")
    for key in ("properties", "$defs"):
        for name, schema in before.get(key, {}).items():
            gone += taken_away(schema, now.get(key, {}).get(name), f"{where}/{name}")
    return gone


def test_what_was_taken_away_would_be_seen():
    before = {"properties": {"a": {"type": "string"}, "b": {"enum": [1, 2]}}, "required": ["a"]}
    now = {"properties": {"a": {"type": "integer"}, "b": {"enum": [1]}}}
    assert taken_away(before, now) == ["/a may be missing", "/a is integer", "/b 2"]
    assert taken_away({"properties": {"a": {}}}, {"properties": {}}) == ["/a", "/a"]

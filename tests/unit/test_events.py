"""An event survives the way over a record, other people's tools can read it, and what is no event is said to be none."""

import json
import tracemalloc
from datetime import UTC, datetime

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary, to_binary
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import EventInvalid, EventVersionUnknown
from schemas.events import CANCEL_REQUESTED, JOB_REQUESTED, Event, event_id, new_traceparent
from schemas.jobs import CancelRequested

JOB_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
DATA = CancelRequested(job_id=JOB_ID, run="live")

text = st.text(min_size=1).filter(lambda s: s.isprintable())
events = st.builds(
    Event,
    id=text,
    type=text,
    source=text,
    subject=text,
    time=st.datetimes(timezones=st.just(UTC)),
    traceparent=st.builds(new_traceparent),
    data=st.binary(),
)


def cancel() -> Event:
    return Event.of(CANCEL_REQUESTED, "turnstream/api", JOB_ID, event_id(JOB_ID, "live"), DATA)


def without(event: Event, name: str) -> list[tuple[str, bytes]]:
    return [header for header in event.headers if header[0] != name]


@given(events)
def test_an_event_comes_back_as_it_went(event: Event):
    assert Event.parse(event.headers, event.data) == event


@given(st.lists(st.tuples(st.text(), st.binary() | st.none())), st.binary() | st.none())
def test_whatever_a_record_holds_it_is_an_event_or_said_to_be_none(
    headers: list[tuple[str, bytes]], value: bytes | None
):
    with pytest.raises(EventInvalid):
        Event.parse(headers, value)


@given(st.binary())
def test_data_that_does_not_fit_is_said_not_to(data: bytes):
    event = cancel().model_copy(update={"data": data})
    with pytest.raises(EventInvalid, match=CANCEL_REQUESTED):
        event.read(CANCEL_REQUESTED, CancelRequested)


def test_the_key_is_the_job():
    assert cancel().key == JOB_ID.encode()


def test_the_id_is_the_same_each_time_the_event_is_sent():
    assert cancel().id == cancel().id == f"{JOB_ID}/live"


def test_the_data_reads_back_as_its_model():
    event = cancel()
    assert Event.parse(event.headers, event.data).read(CANCEL_REQUESTED, CancelRequested) == DATA


def test_the_cloudevents_library_reads_ours():
    event = cancel()
    message = KafkaMessage(headers=dict(event.headers), key=event.key, value=event.data)
    read = from_binary(message, JSONFormat())
    assert (read.get_id(), read.get_type(), read.get_source(), read.get_subject(), read.get_time()) == (
        event.id,
        event.type,
        event.source,
        event.subject,
        event.time,
    )
    assert read.get_datacontenttype() == "application/json"
    assert read.get_data() == {"job_id": JOB_ID, "run": "live"}


def test_we_read_what_the_cloudevents_library_writes():
    attributes = {
        "id": "1",
        "type": CANCEL_REQUESTED,
        "source": "/elsewhere",
        "subject": JOB_ID,
        "time": datetime(2026, 1, 2, 3, 4, 5, 6, UTC),
        "datacontenttype": "application/json",
        "extension": "more",
    }
    message = to_binary(CloudEvent(attributes, {"job_id": JOB_ID, "run": "live", "later": 1}), JSONFormat())
    event = Event.parse(message.headers.items(), message.value)
    assert event.time == attributes["time"]
    assert event.read(CANCEL_REQUESTED, CancelRequested) == DATA


def test_headers_of_others_do_no_harm():
    event = cancel()
    headers = [("trace-bin", b"\xff\x00"), ("nothing", None), *event.headers]
    assert Event.parse(headers, event.data) == event


def test_a_trace_goes_on_and_a_broken_one_begins_anew():
    event = cancel()
    assert Event.parse(event.headers, event.data).traceparent == event.traceparent
    for broken in ([], [("traceparent", b"\xff")], [("traceparent", b"nonsense\n")], [("traceparent", None)]):
        parsed = Event.parse([*without(event, "traceparent"), *broken], event.data)
        assert parsed.traceparent.isascii()
        assert len(parsed.traceparent) == len(new_traceparent())


@pytest.mark.parametrize("name", ["ce_specversion", "ce_id", "ce_type", "ce_source", "ce_subject", "ce_time"])
def test_an_attribute_that_is_missing_null_or_not_text_makes_it_no_event(name: str):
    event = cancel()
    for bad in ([], [(name, None)], [(name, b"")], [(name, b"\xff")]):
        with pytest.raises(EventInvalid):
            Event.parse([*without(event, name), *bad], event.data)


def test_another_version_of_cloudevents_is_not_guessed_at():
    with pytest.raises(EventInvalid, match=r"version 1\.0"):
        Event.parse([*without(cancel(), "ce_specversion"), ("ce_specversion", b"2.0")], b"{}")


def test_null_is_no_event():
    with pytest.raises(EventInvalid, match="no value"):
        Event.parse(cancel().headers, None)


def test_an_unknown_version_is_told_from_an_event_that_does_not_belong():
    newer = cancel().model_copy(update={"type": "turnstream.job.cancel-requested.v2"})
    with pytest.raises(EventVersionUnknown, match=r"v2 is not known here.*v1 is"):
        newer.read(CANCEL_REQUESTED, CancelRequested)
    with pytest.raises(EventInvalid, match="does not belong here"):
        newer.read(JOB_REQUESTED, CancelRequested)


def test_what_a_later_release_adds_is_ignored():
    data = json.dumps({"job_id": JOB_ID, "run": "live", "reason": "new in v1"}).encode()
    assert cancel().model_copy(update={"data": data}).read(CANCEL_REQUESTED, CancelRequested) == DATA


def test_nothing_is_kept_of_what_was_parsed():
    """Ids never come again: a cache of them would only fill up."""
    bodies = [
        CancelRequested(job_id=f"{JOB_ID[:24]}{number:012d}", run="live").model_dump_json() for number in range(2_000)
    ]
    CancelRequested.model_validate_json(bodies[0])
    tracemalloc.start()
    try:
        for body in bodies:
            CancelRequested.model_validate_json(body)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 10_000

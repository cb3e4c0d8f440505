"""A dead letter: what a record that is set aside keeps, gets, and brings back."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import EngineCrashed, EventInvalid, StoreUnavailable
from schemas.events import Headers, size_of
from schemas.topics import DEAD_LETTER_LIMIT, HEADERS_LIMIT, Layout, Topic
from tests.support.stores import keys
from tests.support.worker import job_event, new_job, record_of
from turnstream.bus.base import Position, Record
from turnstream.bus.memory import MemoryBus
from turnstream.dead_letters import OURS, original, read, set_aside
from turnstream.object_store.memory import MemoryStore
from turnstream.records import Records

SRC = Position("gpu-jobs", 3, 41)
HUGE = b"\xff" * (DEAD_LETTER_LIMIT + 1)


@pytest.fixture
def records() -> Records:
    return Records(MemoryStore())


def came(value: bytes | None, headers: Headers = (), key: bytes | None = b"key") -> Record:
    return Record(SRC, key, value, headers)


async def through_the_topic(value: bytes | None, headers: Headers, key: bytes | None = b"key") -> Record:
    bus = MemoryBus()
    await bus.start()
    await bus.ensure_topics(Layout().topics())
    await bus.publish(Topic.JOBS_DLQ, key=key, value=value, headers=headers, partition=0)
    return bus.records(Topic.JOBS_DLQ)[0]


headers_of_others = st.lists(st.tuples(st.sampled_from(["ce_id", "x", *OURS]), st.binary(max_size=20)), max_size=8)


@given(value=st.none() | st.binary(max_size=50), headers=headers_of_others)
async def test_a_record_comes_back_as_it_was_but_for_headers_that_are_ours(value, headers):
    records = Records(MemoryStore())
    letter = read(
        await through_the_topic(*set_aside(records, came(value, tuple(headers)), EngineCrashed("boom").info, 3))
    )
    assert (letter.error, letter.detail, letter.attempt, letter.src) == ("engine_crashed", "boom", 3, SRC)
    assert letter.original_headers == tuple(header for header in headers if header[0] not in OURS)
    assert original(records, letter) == value
    assert letter.stored is None
    assert keys(records.store) == []


async def test_a_value_too_large_for_the_topic_is_stored_once_and_referred_to(records: Records):
    for _ in range(2):  # as when the step is repeated
        value, headers = set_aside(records, came(HUGE), EventInvalid("too large").info, 1)
    digest = hashlib.sha256(HUGE).hexdigest()
    assert json.loads(value) == {
        "object": f"dead-letters/{digest}",
        "size": len(HUGE),
        "sha256": digest,
        "src": "gpu-jobs/3/41",
    }
    assert keys(records.store) == [f"dead-letters/{digest}"]
    letter = read(await through_the_topic(value, headers))
    assert dict(headers)["stored"] == b"1"
    assert original(records, letter) == HUGE
    records.store.delete(f"dead-letters/{digest}")
    with pytest.raises(StoreUnavailable, match="not at dead-letters/"):
        original(records, letter)


async def test_the_largest_value_that_the_topic_takes_goes_there(records: Records):
    value, headers = set_aside(records, came(HUGE[1:]), EventInvalid().info, 1)
    assert (await through_the_topic(value, headers)).value == HUGE[1:]
    assert keys(records.store) == []


def test_headers_for_which_there_is_no_room_are_left_out(records: Records):
    mine: Headers = (("ce_id", b"1"), ("large", bytes(HEADERS_LIMIT)), *((f"x{n}", bytes(999)) for n in range(1000)))
    value, headers = set_aside(records, came(HUGE[1:], mine), EventInvalid("large").info, 1)
    assert headers[:2] == (("ce_id", b"1"), ("x0", bytes(999)))
    assert dict(headers)["src"] == b"gpu-jobs/3/41"
    assert len(value or b"") + size_of(headers) <= DEAD_LETTER_LIMIT + HEADERS_LIMIT + 500


def test_the_store_is_asked_before_anything_refers_to_it(records: Records, monkeypatch):
    monkeypatch.setattr(records.store, "put", lambda *_, **__: (_ for _ in ()).throw(StoreUnavailable("full")))
    with pytest.raises(StoreUnavailable, match="full"):
        set_aside(records, came(HUGE), EventInvalid().info, 1)


def test_the_run_is_read_from_the_headers_alone(records: Records):
    job = new_job()
    event = job_event(job, "run-2")
    for value in (event.data, b"torn", HUGE):
        record = Record(SRC, event.key, value, event.headers)
        aside, headers = set_aside(records, record, EventInvalid().info, 1)
        assert read(Record(SRC, event.key, aside, headers)).id == (job.id, "run-2")
    assert read(came(b"torn")).id is None


@given(
    headers=st.lists(st.tuples(st.sampled_from(sorted(OURS)), st.binary(max_size=40)), max_size=6), value=st.binary()
)
def test_whatever_lies_on_the_topic_is_read(headers, value):
    letter = read(came(value, tuple(headers)))
    assert (letter.offset, letter.stored) == (41, None)
    assert original(Records(MemoryStore()), letter) == value


@pytest.mark.parametrize("src", [b"", b"a", b"a/b/c", b"a/1/" + b"9" * 5000, b"\xff"])
def test_a_source_that_is_none_is_none(src: bytes):
    assert read(came(b"x", (("src", src),))).src is None


@pytest.mark.parametrize("key", ["jobs/x/audio", "dead-letters/../jobs", "dead-letters/requeued/a/1", ""])
def test_a_forged_reference_reads_nothing(records: Records, key: str):
    forged = {"object": key, "size": 1, "sha256": "", "src": ""}
    letter = read(came(json.dumps(forged).encode(), (("stored", b"1"),)))
    with pytest.raises(StoreUnavailable):
        original(records, letter)


def test_a_reference_is_one_only_where_the_header_says_so(records: Records):
    looks_like = record_of(job_event(new_job()))
    value = json.dumps({"object": "o", "size": 1, "sha256": "", "src": ""}).encode()
    assert read(Record(SRC, None, value, looks_like.headers)).stored is None

"""Where a job goes is decided by its id and kind alone, evenly, and stays when the layout grows."""

from collections import Counter
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.errors import LayoutMismatch
from schemas.jobs import Lane
from schemas.topics import DEAD_LETTER_LIMIT, JOB_EVENT_LIMIT, SLOTS, Layout, Topic
from turnstream.operations import installed

JOB_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
OPERATIONS = tuple(installed())

job_ids = st.uuids().map(str)
names = st.lists(st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True), unique=True, max_size=3)
layouts = st.builds(Layout, groups=st.integers(1, 1024), results=st.integers(1, 64)).map(
    lambda layout: layout.including(OPERATIONS)
)
kinds = st.tuples(st.sampled_from(OPERATIONS), st.sampled_from(Lane))


@given(layouts, job_ids, kinds)
def test_a_job_falls_into_a_partition_of_its_slot(layout: Layout, job_id: str, kind: tuple[str, Lane]):
    partition = layout.partition(job_id, *kind)
    assert 0 <= partition < layout.topics()[0].partitions
    assert partition % SLOTS == layout.slot["/".join(kind)]
    assert 0 <= layout.result_partition(job_id) < layout.results


@given(layouts)
def test_every_kind_has_a_slot_of_its_own(layout: Layout):
    slots = [layout.slot[f"{operation}/{lane}"] for operation in OPERATIONS for lane in Lane]
    assert len({*slots}) == len(slots)
    assert {*slots} <= {*range(layout.slots)}


@given(names, names)
def test_an_operation_takes_free_slots_and_moves_nobody(first: list[str], second: list[str]):
    before = Layout().including(first)
    after = before.including(second)
    assert before.slot.items() <= after.slot.items()
    assert len({*after.slot.values()}) == len(after.slot) == 2 * len({*first, *second})


def test_slots_run_out():
    with pytest.raises(LayoutMismatch, match="13 slots"):
        Layout().including("abcdefg")


@given(job_ids, kinds, st.integers(1, 32), st.integers(0, 32))
def test_what_was_published_before_the_layout_grew_lies_in_a_partition_that_it_still_has(job_id, kind, groups, more):
    old = Layout(groups=groups).including(OPERATIONS)
    new = old.model_copy(update={"groups": groups + more})
    assert old.partition(job_id, *kind) < new.topics()[0].partitions
    assert old.partition(job_id, *kind) % SLOTS == new.partition(job_id, *kind) % SLOTS


@given(layouts)
def test_a_layout_survives_being_kept(layout: Layout):
    assert Layout.model_validate_json(layout.model_dump_json()) == layout


def test_jobs_spread_evenly_over_the_groups():
    layout = Layout(groups=8).including(OPERATIONS)
    jobs = (str(UUID(int=(n << 64) + n * 7919)) for n in range(8000))
    groups = Counter(layout.partition(job, "diarize", Lane.BATCH) // SLOTS for job in jobs)
    assert len(groups) == 8
    assert all(800 < count < 1200 for count in groups.values())


def test_where_jobs_went_in_earlier_releases():
    layout = Layout(groups=4).including(["diarize"])
    assert layout.partition(JOB_ID, "diarize", Lane.INTERACTIVE) == 13
    assert layout.partition(JOB_ID, "diarize", Lane.BATCH) == 14
    assert layout.result_partition(JOB_ID) == 1


def test_every_topic_is_laid_out_once_and_takes_what_it_must():
    specs = {spec.name: spec for spec in Layout(groups=2).topics(["speech-results", Topic.DIARIZATION_RESULTS])}
    assert specs.keys() == {*Topic, "speech-results"}
    assert specs["speech-results"].partitions == specs[Topic.DIARIZATION_RESULTS].partitions
    assert specs[Topic.JOBS].partitions == 2 * SLOTS
    assert specs[Topic.JOBS].max_message_bytes > JOB_EVENT_LIMIT
    assert specs[Topic.JOBS_DLQ].max_message_bytes > DEAD_LETTER_LIMIT


@pytest.mark.parametrize("groups", [0, -1, 1025])
def test_a_layout_out_of_range_is_refused(groups: int):
    with pytest.raises(ValidationError):
        Layout(groups=groups)

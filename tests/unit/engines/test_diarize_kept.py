"""What is kept of a recording comes back to the last bit, or is refused."""

import hashlib
import json
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from processor.audio import MAX_TRACKS
from processor.engines.diarize.analysis import Analysis
from processor.engines.diarize.kept import MAGIC, AudioFacts, Kept, Refused, fingerprint
from schemas.jobs import Channels, Mode

ORIGIN = "a job/what computed it"


@st.composite
def analyses(draw: st.DrawFn) -> Analysis:
    windows, frames, speakers = draw(st.integers(1, 5)), draw(st.integers(1, 9)), draw(st.integers(1, 3))
    analysis = Analysis.blank(windows, frames, speakers, draw(st.integers(1, 4)))
    analysis.activity[:] = draw(arrays.arrays(np.uint8, analysis.activity.shape, elements=st.integers(0, 1)))
    speaking = analysis.activity.any(axis=1)
    vectors = draw(arrays.arrays(np.float32, analysis.vectors.shape))
    analysis.vectors[speaking] = vectors[speaking]
    return analysis


def kept(*analyses: Analysis) -> Kept:
    facts = AudioFacts(duration=7.25, sample_rate=44_100, channels=2, warnings=["audio_damaged"])
    return Kept(facts, Mode.FAST, True, 3, analyses)


@settings(deadline=None, max_examples=60)
@given(analyses(), st.integers(0, MAX_TRACKS - 1))
def test_it_comes_back_to_the_last_bit(first: Analysis, more: int):
    tracks = [first, *(replace(first, activity=first.activity[::-1], vectors=first.vectors[::-1]) for _ in range(more))]
    found = Kept.unpacked(kept(*tracks).packed(ORIGIN), ORIGIN, first.shape[1:])
    assert (found.audio, found.mode, found.fell_back, found.near_ties) == (kept().audio, Mode.FAST, True, 3)
    for ours, theirs in zip(found.analyses, tracks, strict=True):
        assert (ours.activity.dtype, ours.vectors.dtype) == (np.uint8, np.float32)
        assert ours.activity.tobytes() == theirs.activity.tobytes()
        assert ours.vectors.tobytes() == theirs.vectors.tobytes()
        assert ours.shape == theirs.shape


@settings(deadline=None, max_examples=60)
@given(analyses(), st.data())
def test_damage_is_refused(analysis: Analysis, data: st.DataObject):
    packed, window = bytearray(kept(analysis).packed(ORIGIN)), analysis.shape[1:]
    place = data.draw(st.integers(0, len(packed) - 1))
    packed[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Refused):
        Kept.unpacked(bytes(packed), ORIGIN, window)
    with pytest.raises(Refused):
        Kept.unpacked(bytes(packed[:place]), ORIGIN, window)


def test_what_is_of_another_job_is_refused():
    analysis = Analysis.blank(2, 4, 2, 4)
    packed = kept(analysis).packed(ORIGIN)
    assert Kept.unpacked(packed, ORIGIN, (4, 2, 4)).analyses
    with pytest.raises(Refused):
        Kept.unpacked(packed, "another job/what computed it", (4, 2, 4))


def forged(claims: dict[str, Any], beyond: bytes = b"") -> bytes:
    """With a sound digest: a header that claims something else."""
    analysis = Analysis.blank(2, 4, 2, 4)
    body = kept(analysis).packed(ORIGIN)[len(MAGIC) + hashlib.sha256().digest_size :]
    (length,) = struct.unpack_from("<I", body)
    head = json.dumps(json.loads(body[4 : 4 + length]) | claims).encode()
    body = struct.pack("<I", len(head)) + head + body[4 + length :] + beyond
    return MAGIC + hashlib.sha256(f"{ORIGIN}\n".encode() + body).digest() + body


@pytest.mark.parametrize(
    "claims",
    [
        {"shapes": [[10**9, 4, 2, 4]]},
        {"shapes": [[10**18, 4, 2, 4]]},
        {"shapes": [[2, 4, 2, 10**9]]},
        {"shapes": [[10**9, 0, 0, 0]]},
        {"shapes": [[-2, -4, 2, 4]]},
        {"shapes": [[0, 4, 2, 4]], "sizes": [0]},
        {"shapes": [[2, 4, 2, 4]] * (MAX_TRACKS + 1), "sizes": [2] + [0] * MAX_TRACKS},
        {"shapes": [], "sizes": []},
        {"sizes": [-2]},
        {"sizes": [1]},
    ],
    ids=str,
)
def test_what_claims_to_be_larger_than_it_is_is_refused_before_there_is_room_made_for_it(claims: dict[str, Any]):
    assert Kept.unpacked(forged({}), ORIGIN, (4, 2, 4)).analyses
    with pytest.raises(Refused):
        Kept.unpacked(forged(claims), ORIGIN, (4, 2, 4))


def test_there_is_nothing_beyond_the_last_analysis():
    with pytest.raises(Refused):
        Kept.unpacked(forged({}, b"more"), ORIGIN, (4, 2, 4))


@pytest.mark.parametrize(
    "wrong", [(2, 5, 2, 4), (2, 4, 2, 3), (3, 4, 2, 4), (-2, -4, 2, 4), (10**9, 4, 2, 4), (2, 4, 2, 10**9)]
)
def test_an_analysis_of_another_shape_is_refused(wrong: tuple[int, int, int, int]):
    analysis = Analysis.blank(2, 4, 2, 4)
    analysis.activity[1, 2, 0] = 1
    with pytest.raises(ValueError, match=r"."):
        Analysis.unpacked(analysis.packed(), wrong)


def test_an_hour_takes_some_six_megabytes():
    """Of a conversation in which somebody speaks in every window, and two do in every third."""
    analysis = Analysis.blank(3591, 589, 3, 256)
    analysis.activity[:, 100:400, 0] = 1
    analysis.activity[::3, 300:, 1] = 1
    assert 5e6 < len(kept(analysis).packed(ORIGIN)) < 6.5e6


def test_the_fingerprint_tells_what_computed_it():
    ways = [
        fingerprint(revision, device, mode, channels, tf32=tf32)
        for revision in ("1a", "1b")
        for device in ("cpu", "cuda")
        for mode in Mode
        for channels in Channels
        for tf32 in (False, True)
    ]
    assert len(set(ways)) == len(ways)
    assert all(len(way) == 16 and way.isalnum() for way in ways)

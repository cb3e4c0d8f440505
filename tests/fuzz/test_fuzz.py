"""A thousand generated calls to a running stack. `python -m tests.fuzz --cases 5000` makes more of them, with other seeds."""

import pytest

from tests.fuzz.fuzzing import SETTINGS, SIGNS, Fuzzed, fuzz
from tests.support.stack import running_stack

CASES, SEED = 1000, 1
BROKEN = {"500", "502", "507"}


@pytest.mark.stack
@pytest.mark.timeout(900)
def test_no_call_is_answered_with_500_or_in_a_way_that_is_not_described(tmp_path):
    fuzzed = Fuzzed()
    with running_stack(tmp_path, **SETTINGS) as stack:
        before = stack.pids
        for fuzzed in fuzz(stack.url, CASES, SEED, tmp_path):
            assert not fuzzed.failures, fuzzed.rounds[-1].told
        assert stack.pids == before
        assert not [sign for sign in SIGNS if sign in stack.logs]
    assert fuzzed.cases >= CASES
    assert not [call for call, by_status in fuzzed.answers.items() if BROKEN & by_status.keys()]
    # Not all were turned away at the door: the calls came as far as calls can.
    for call in ("POST /api/v1/jobs", "POST /api/v1/diarize/file", "GET /api/v1/jobs/{job_id}/result"):
        assert fuzzed.answers[call].keys() & {"200", "202"}, call

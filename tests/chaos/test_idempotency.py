"""Fifty clients who send everything again, and an API that is killed: each key is one job. A thousand of them: docs/chaos.md."""

from pathlib import Path

import pytest

from tests.chaos.idempotency import trial
from tests.chaos.test_chaos import REAL


@pytest.mark.stack
@pytest.mark.timeout(600)
@pytest.mark.parametrize("stack", ["embedded", pytest.param("local", marks=[pytest.mark.real, REAL])])
def test_each_key_is_one_job(stack: str, tmp_path: Path):
    found = trial(tmp_path, stack, jobs=150, clients=50, kills=4, seed=3)
    assert found["breaches"] == []
    assert found["calls"]["replayed"] > 0
    assert sum(found["kills"].values()) > 0

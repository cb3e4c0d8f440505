"""Twenty kills of each stack, half of them at named points: nothing lost, nothing twice."""

import os
import subprocess
import sys

import pytest

from tests.support.real import REAL_KAFKA, REASON
from tests.support.stores import REAL_MINIO

REAL = pytest.mark.skipif(not {REAL_KAFKA, REAL_MINIO} <= os.environ.keys(), reason=REASON)


@pytest.mark.stack
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "stack",
    ["embedded", pytest.param("local", marks=[pytest.mark.real, REAL])],
)
def test_nothing_is_lost_and_nothing_is_done_twice(stack: str):
    command = [sys.executable, "-m", "tests.chaos", "--stack", stack, "--kills", "20", "--seed", "6"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=840, check=False)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-30_000:]
    assert "breaches   0" in done.stdout

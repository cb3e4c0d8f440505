"""Several workers at the same jobs, while one joins and one leaves. `python -m tests.bench.workers` does it with 1,000 jobs."""

from collections import Counter
from pathlib import Path

import pytest

from tests.support.fleet import ONE_MODEL, join_and_leave, running_fleet
from turnstream.operations import installed

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

JOBS = 200
MAX_WAIT = 5.0
STANDSTILL = 60.0
"""Seconds beyond MAX_WAIT that a job may wait: two rebalances, the work before it, swaps, and a machine that is busy."""


async def test_a_worker_joins_and_one_leaves_and_every_job_is_computed_once(tmp_path: Path):
    async with running_fleet(tmp_path, workers=3, groups=4, MAX_WAIT=str(MAX_WAIT), **ONE_MODEL) as fleet:
        assert await join_and_leave(fleet, JOBS) == 0
        assert fleet.outcomes() == {"succeeded": len(fleet.submitted)}
        done = Counter((each.job, each.model) for each in fleet.computed())
        assert {stage: times for stage, times in done.items() if times > 1} == {}
        assert set(done) == {
            (job, model) for job, operation in fleet.submitted.items() for model in installed()[operation].models
        }
        assert len({each.engine for each in fleet.computed()}) == 4  # each worker had its part
        assert max(fleet.waits().values()) < MAX_WAIT + STANDSTILL

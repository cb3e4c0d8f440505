"""`turnstream backfill` on a stack, killed together with it: each recording is one job with one result.

Of an archive of thousands: `python -m tests.chaos.backfill`.
"""

import random
import signal
from pathlib import Path

import pytest

from tests.chaos.backfill import Backfill, breaches, make_archive, strike, trial
from tests.support.stack import running_stack
from tests.support.waiting import until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]


def test_kills_double_nothing_and_lose_nothing(tmp_path: Path):
    found = trial(tmp_path, count=60, kills=6, pace=1.5, seed=4)
    assert found["breaches"] == []


def test_it_waits_for_a_service_that_is_away_and_goes_on_after_ctrl_c(tmp_path: Path):
    files = make_archive(tmp_path / "archive", 120, random.Random(1))  # noqa: S311 - not for secrets
    with running_stack(tmp_path, ENGINE="scripted") as stack:
        backfill = Backfill(stack, tmp_path / "archive", tmp_path / "backfill.log")

        def says() -> str:
            return backfill.log.read_text()

        def results() -> int:
            return len(list((tmp_path / "archive").rglob("*.diarize.json")))

        backfill.start()
        until(results, 120)
        assert strike(backfill, "api")
        until(lambda: "waiting: " in says(), 60)
        before = results()
        until(lambda: results() > before, 120)
        backfill.process.send_signal(signal.SIGINT)
        assert backfill.process.wait(60) == 130
        assert "the same command goes on from here" in says()
        assert results() < len(files.good)

        backfill.start()
        assert backfill.process.wait(300) == 1  # some are no recordings
        assert list(breaches(stack, tmp_path / "archive", files)) == []

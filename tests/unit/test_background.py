"""A stack behind another program: what its starter hears when it does not come up."""

from pathlib import Path

import pytest

from schemas.errors import StackFailed
from turnstream import run_dir
from turnstream.background import Background


def test_a_stack_that_ends_says_its_last_line(tmp_path: Path):
    (tmp_path / "data").write_text("a file where the directory should be")
    with (
        Background(tmp_path / "data", tmp_path / "log", {"KAFKA_BOOTSTRAP_SERVERS": ""}) as stack,
        pytest.raises(StackFailed, match=r"name another directory with --data \(all of it: .*log\)"),
    ):
        stack.wait_ready(30)


def test_a_stack_whose_process_dies_again_and_again_is_not_waited_for(tmp_path: Path):
    with Background(tmp_path / "data", tmp_path / "log", {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9"}) as stack:
        run_dir.state_path(tmp_path / "data", "stack").parent.mkdir(parents=True, exist_ok=True)
        run_dir.write_state(tmp_path / "data", "stack", {"state": "starting", "deaths": {"api": 4}})
        with pytest.raises(StackFailed, match="the api died 4 times"):
            stack.wait_ready(30)


def test_what_was_never_started_has_failed(tmp_path: Path):
    stack = Background(tmp_path, tmp_path / "log")
    assert stack.failed
    assert stack.stop() < 1

import json
import os
from pathlib import Path

from processor.status import Status, WorkerState


def test_the_status_is_whole_and_changes_with_the_state(tmp_path: Path):
    status, path = Status(tmp_path), tmp_path / "run" / "worker.json"
    status.say(WorkerState.STARTING, None)
    assert json.loads(path.read_text())["state"] == "starting"
    status.say(WorkerState.READY, 7)
    said = json.loads(path.read_text())
    assert (said["pid"], said["engine_pid"], said["state"]) == (os.getpid(), 7, "ready")
    status.say(WorkerState.READY, 7)
    assert json.loads(path.read_text()) == said
    assert [entry.name for entry in path.parent.iterdir()] == ["worker.json"]
    status.forget()
    status.forget()
    assert not path.exists()

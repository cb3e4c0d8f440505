import json
import os
from pathlib import Path

from processor.status import Status, WorkerState


def test_the_status_is_whole_and_changes_with_the_state(tmp_path: Path):
    status, path = Status(tmp_path, probes="http://127.0.0.1:9464"), tmp_path / "run" / "worker.json"
    assert not status.ready
    status.say(WorkerState.STARTING, None)
    assert json.loads(path.read_text())["state"] == "starting"
    status.say(WorkerState.READY, 7)
    said = json.loads(path.read_text())
    assert status.ready
    assert (said["pid"], said["engine_pid"], said["state"]) == (os.getpid(), 7, "ready")
    assert said["probes"] == "http://127.0.0.1:9464"
    status.say(WorkerState.READY, 7)
    assert json.loads(path.read_text()) == said
    assert [entry.name for entry in path.parent.iterdir()] == ["worker.json"]
    status.forget()
    status.forget()
    assert not path.exists()


def test_each_worker_of_a_machine_has_a_status_of_its_own(tmp_path: Path):
    first, second = Status(tmp_path, "worker-1"), Status(tmp_path, "worker-2")
    first.say(WorkerState.READY, 1)
    second.say(WorkerState.STARTING, 2)
    first.forget()
    assert [entry.name for entry in (tmp_path / "run").iterdir()] == ["worker-2.json"]


def test_the_status_of_a_successor_is_not_forgotten(tmp_path: Path):
    status, path = Status(tmp_path), tmp_path / "run" / "worker.json"
    status.say(WorkerState.READY, 7)
    path.write_text(json.dumps({"pid": os.getpid() + 1}))
    status.forget()
    assert path.exists()

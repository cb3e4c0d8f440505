"""What the worker tells of itself: `<data_dir>/run/worker.json`."""

import json
import os
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path


class WorkerState(StrEnum):
    STARTING = "starting"
    """Has no partitions yet, or is between two assignments."""
    READY = "ready"
    DRAINING = "draining"


class StatusFile:
    """Written anew, whole, at each change. Removed at an orderly end."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "run" / "worker.json"
        self._said: tuple[WorkerState, int | None] | None = None

    def say(self, state: WorkerState, engine_pid: int | None) -> None:
        if (state, engine_pid) == self._said:
            return
        self._said = (state, engine_pid)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        status = {"pid": os.getpid(), "engine_pid": engine_pid, "state": state, "at": datetime.now(UTC).isoformat()}
        draft = self._path.with_name(f".worker-{os.getpid()}.json")
        draft.write_text(json.dumps(status))
        draft.replace(self._path)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)

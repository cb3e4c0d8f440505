"""What a worker tells of itself: `<data_dir>/run/<its name>.json`."""

import os
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from turnstream import run_dir


class WorkerState(StrEnum):
    STARTING = "starting"
    """Has no partitions yet, or is between two assignments."""
    READY = "ready"
    DRAINING = "draining"


class Status:
    """Written anew, whole, at each change. Forgotten at an orderly end."""

    def __init__(self, data_dir: Path, name: str = "worker", probes: str | None = None) -> None:
        self._data_dir = data_dir
        self._name = name
        self.probes = probes
        """The address that answers /metrics, /healthz and /readyz."""
        self._said: tuple[WorkerState, int | None] | None = None
        run_dir.state_path(data_dir, name).parent.mkdir(parents=True, exist_ok=True)

    @property
    def ready(self) -> bool:
        return self._said is not None and self._said[0] is WorkerState.READY

    def say(self, state: WorkerState, engine_pid: int | None) -> None:
        if (state, engine_pid) != self._said:
            self._said = (state, engine_pid)
            at = datetime.now(UTC).isoformat()
            state_now = {"pid": os.getpid(), "engine_pid": engine_pid, "state": state, "probes": self.probes, "at": at}
            run_dir.write_state(self._data_dir, self._name, state_now)

    def forget(self) -> None:
        if run_dir.read_state(self._data_dir, self._name).get("pid") == os.getpid():  # else a successor has spoken
            run_dir.forget_state(self._data_dir, self._name)

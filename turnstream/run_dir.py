"""`<data>/run`: where the processes of this machine say how they are, and the lock that keeps a second stack out."""

import fcntl
import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from schemas.errors import DataDirInUse, FileUnusable


def state_path(data_dir: Path, name: str) -> Path:
    """Where `stack` and `worker` say how they are."""
    return data_dir / "run" / f"{name}.json"


def read_state(data_dir: Path, name: str) -> dict[str, Any]:
    """Empty where there is none."""
    try:
        return json.loads(state_path(data_dir, name).read_text())
    except (OSError, ValueError):
        return {}


def write_state(data_dir: Path, name: str, state: Mapping[str, Any]) -> None:
    """A reader sees the old state or the new one, never a part."""
    path = state_path(data_dir, name)
    fresh = path.with_suffix(".tmp")
    fresh.write_text(json.dumps(state))
    fresh.replace(path)


def forget_state(data_dir: Path, name: str) -> None:
    state_path(data_dir, name).unlink(missing_ok=True)


@contextmanager
def locked(data_dir: Path) -> Generator[None]:
    """One stack a data directory. The lock goes with the process, however it ends."""
    try:
        state_path(data_dir, "stack").parent.mkdir(parents=True, exist_ok=True)
        lock = state_path(data_dir, "stack").with_name("lock").open("w")
    except OSError as error:
        raise FileUnusable(f"{error.filename}: {error.strerror}; name another directory with --data") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            at = read_state(data_dir, "stack").get("url", "elsewhere")
            raise DataDirInUse(
                f"a stack already runs on {data_dir} ({at}): stop it, or name another with --data"
            ) from None
        yield

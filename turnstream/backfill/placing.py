"""Results as files: whole or not at all, and never in the place of a file that is somebody else's."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from schemas.errors import FileUnusable
from turnstream.backfill.state import State


def is_placed(state: State, target: Path, task: str) -> bool:
    """Whether the result of the task is there. What was done to the file since is nobody's business."""
    return state.has_result(target, task) and target.exists()


def place(state: State, target: Path, task: str, content: bytes) -> None:
    """Raises FileUnusable, also where there is a file which this backfill has not written, or which was changed since."""
    digest = hashlib.sha256(content).hexdigest()
    try:
        there = _digest(target)
        if there != digest:
            if there is not None and not state.is_ours(target, there):
                raise FileUnusable(f"there is a file {target} that is not the result written here: move it away")
            target.parent.mkdir(parents=True, exist_ok=True)
            state.will_write(target, task, digest)
            write_whole(target, content)
    except OSError as error:
        raise FileUnusable(f"{error.filename or target}: {error.strerror}") from error
    state.has_written(target, task, digest)


def write_whole(target: Path, content: bytes) -> None:
    """What a kill leaves of it is hidden, and written over the next time."""
    part = target.with_name(f".{target.name}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def _digest(path: Path) -> str | None:
    """None where there is no file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None

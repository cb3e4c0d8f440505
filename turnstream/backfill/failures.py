"""The list of what failed: a JSON object a line, for programs, and only what failed the last time it was tried."""

import json
from pathlib import Path

from schemas.errors import FileUnusable
from turnstream.backfill.placing import write_whole
from turnstream.backfill.state import Failure, State


class FailureList:
    """Where nothing failed there is no file."""

    def __init__(self, path: Path, state: State, work_id: str) -> None:
        """Raises FileUnusable where there is another file of that name."""
        self.path = path
        self._state = state
        self._work_id = work_id
        if not _is_ours(path):
            raise FileUnusable(f"{path} is no list of failures: name another one with --failures")

    def write(self) -> int:
        """How many there are. Raises FileUnusable."""
        failures = [_line(each) for each in self._state.failures(self._work_id)]
        try:
            if failures:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(self.path, "".join(failures).encode())
            else:
                self.path.unlink(missing_ok=True)
        except OSError as error:
            raise FileUnusable(f"{self.path}: {error.strerror}") from error
        return len(failures)


def _line(failure: Failure) -> str:
    """A path that is no text comes with escapes, which `os.fsencode` understands."""
    fields = {"path": str(failure.path), "code": failure.error.code, "detail": failure.error.detail, "job": failure.job}
    return json.dumps(fields) + "\n"


def _is_ours(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            first = file.readline()
        return not first or json.loads(first).keys() >= {"path", "code"}
    except FileNotFoundError:
        return True
    except (ValueError, AttributeError):
        return False
    except OSError as error:
        raise FileUnusable(f"{path}: {error.strerror}") from error

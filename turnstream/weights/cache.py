"""Directories that are there whole or not at all: made by one process, checked by every other."""

import fcntl
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from schemas.errors import WeightsUnavailable
from turnstream.settings import Settings

log = logging.getLogger(__name__)

Say = Callable[[str], None]
"""Takes one line for people about what goes on."""

MANIFEST = "manifest.json"
POLL = 0.2
"""Seconds between two looks at a lock that another process holds: flock has no wait with a limit."""


def cache_dir(settings: Settings) -> Path:
    if settings.cache_dir is not None:
        return settings.cache_dir
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("turnstream"))


@contextmanager
def keeping(settings: Settings) -> Generator[None]:
    """What goes wrong where weights are fetched and kept, as WeightsUnavailable."""
    try:
        yield
    except OSError as error:
        log.warning("weights cannot be kept in %s: %s", cache_dir(settings), error)
        raise WeightsUnavailable(
            f"The weights cannot be kept in the cache directory (CACHE_DIR): {error.strerror}"
        ) from error
    except ImportError as error:
        raise WeightsUnavailable(f"{error.name} is not installed: pip install 'turnstream[worker]'") from error


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def one_builder(folder: Path, *, deadline: float, say: Say) -> Generator[None]:
    """Hold `folder` alone, among all processes of this machine. The system lets go of it when its holder dies.

    What a builder that was killed left behind is removed: every hidden directory in it.
    """
    with (folder / ".lock").open("wb") as lock:
        waiting = False
        while not _locked(lock.fileno()):
            if time.monotonic() > deadline:
                raise WeightsUnavailable("Another process is still preparing the weights. Try again when it is done.")
            if not waiting:
                say("waiting for another process that prepares the weights")
            waiting = True
            time.sleep(POLL)
        for leftover in folder.glob(".*/"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield


def _locked(descriptor: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


@contextmanager
def built(target: Path) -> Generator[Path]:
    """A new directory that takes the place of `target` when the block ends well, and is gone when it does not."""
    with tempfile.TemporaryDirectory(prefix=".build-", dir=target.parent) as scratch:
        building = Path(scratch) / "new"
        building.mkdir()
        yield building
        if target.exists():
            target.rename(Path(scratch) / "old")
        building.rename(target)


def write_manifest(directory: Path, revision: str) -> None:
    """Note the SHA-256 of every file in `directory`, so that `verified` finds what was damaged since."""
    files = {str(path.relative_to(directory)): sha256_of(path) for path in _files(directory)}
    text = json.dumps({"revision": revision, "files": files}, indent=2, sort_keys=True)
    (directory / MANIFEST).write_text(text + "\n")
    for path in [*_files(directory), directory]:
        _sync(path)


def verified(directory: Path, revision: str) -> bool:
    """Whether `directory` is there, of this revision, and every file in it as it was written."""
    try:
        manifest = json.loads((directory / MANIFEST).read_bytes())
        return manifest["revision"] == revision and all(
            sha256_of(directory / name) == digest for name, digest in manifest["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file() and path.name != MANIFEST)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

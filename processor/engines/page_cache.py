"""Files read ahead, so that whoever reads them soon finds them in the system's page cache."""

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from processor.engines import memory

_BLOCK = 1 << 20
_SHARE = 4
"""Files are read ahead as long as they take no more than one part in so many of the memory that is free."""


def size(files: Iterable[Path]) -> int:
    """Bytes of all of them; one that is not there counts nothing."""
    total = 0
    for file in files:
        with suppress(OSError):
            total += file.stat().st_size
    return total


def read_ahead(files: Callable[[], Sequence[Path]]) -> None:
    """Read them in a thread aside, one after the other. Failures are for the load to tell."""
    threading.Thread(target=_read_all, args=(files,), name="read-ahead", daemon=True).start()


def _read_all(files: Callable[[], Sequence[Path]]) -> None:
    room = memory.available() // _SHARE
    with suppress(Exception):
        for file in files():
            room -= size([file])
            if room >= 0:
                with suppress(OSError):
                    _read(file)


def _read(file: Path) -> None:
    with file.open("rb", buffering=0) as opened:
        if hasattr(os, "posix_fadvise"):
            # The system reads while we are still asking.
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
        while opened.read(_BLOCK):
            pass

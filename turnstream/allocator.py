"""How this process gets its memory from the system. Does something where the C library is glibc, and nothing elsewhere."""

import ctypes
import gc
import sys
from typing import Any

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # malloc.h
_KEPT = (1 << 31) - 1


def keep_big_blocks() -> None:
    """Reuse large blocks instead of giving each back to the system.

    glibc maps every block above 32 MiB anew, and the embedding network asks for some hundred of them a pass: most of its
    time would go into page faults.
    """
    libc = _glibc()
    if libc is not None:
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT)


def few_arenas() -> None:
    """Have all threads share two heaps, which has to be said before there are more.

    glibc gives its threads eight for each core. A service whose threads take turns lets one after the other grow to the same
    size: over 50,000 jobs by 12 MiB, of which nothing is in use.
    """
    libc = _glibc()
    if libc is not None:
        libc.mallopt(_M_ARENA_MAX, 2)


def give_back() -> None:
    """Return what is free to the system, after something large was dropped."""
    gc.collect()
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None

"""What a disk that fails means, and what to do about it."""

import errno
from pathlib import Path

from schemas.errors import StoreUnavailable

REMEDIES = {
    errno.ENOSPC: "the disk is full: free some space, or set DATA_DIR to a larger disk",
    errno.EDQUOT: "the disk quota is used up: free some space, or set DATA_DIR to another disk",
    errno.EACCES: "this user may not write there: change its owner, or set DATA_DIR",
    errno.EPERM: "the file system does not allow it (hard links are needed): set DATA_DIR to one that does",
    errno.ENOTSUP: "the file system has no hard links: set DATA_DIR to one that has",
    errno.EROFS: "it is mounted read-only: mount it writable, or set DATA_DIR",
    errno.ENOENT: "the directory is gone: bring it back, or start again to make it anew",
    errno.EMFILE: "too many open files: raise the limit (ulimit -n)",
}
"""By the number of the operating system's error."""


def unavailable(what: str, directory: Path, error: OSError) -> StoreUnavailable:
    """`what` is kept in `directory`, below DATA_DIR, and cannot be read or written there."""
    remedy = REMEDIES.get(error.errno or 0, "see DATA_DIR")
    return StoreUnavailable(f"{what} in {directory}: {error.strerror or error} ({remedy})")

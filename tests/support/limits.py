"""Limits of the operating system, put on processes for the length of a test."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def file_size(limit: int, *processes: int) -> Iterator[None]:
    """These processes, or this one, and whom they start may let no file grow beyond so many bytes. It stands for a full disk:
    the system itself refuses the rest.
    """
    before = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in processes or (0,)}
    for pid, (_, hard) in before.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        for pid, limits in before.items():
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)

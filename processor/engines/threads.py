"""How many threads compute."""

import os


def cores() -> int:
    """Those this process may run on, which a container may limit, or what OMP_NUM_THREADS leaves it of them."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdecimal() and int(told):
        return int(told)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

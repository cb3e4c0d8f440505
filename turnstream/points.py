"""Named points between the steps of intake and delivery, where a chaos test stops the process that passes.

Nothing happens unless TURNSTREAM_FAULT_POINTS names a folder. A file there that is called like a point and holds the name of a
signal strikes the first process that passes that point, once.
"""

import os
import signal
from pathlib import Path

ENV = "TURNSTREAM_FAULT_POINTS"
_FOLDER = os.environ.get(ENV)


def passing(name: str) -> None:
    """To be called where a process may die and nothing must be lost."""
    if _FOLDER is not None:
        _strike(Path(_FOLDER) / name)


def _strike(order: Path) -> None:
    taken = order.with_name(f"{order.name}:{os.getpid()}")
    try:
        order.rename(taken)  # by one process only, whoever else passes
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.Signals[taken.read_text().strip()])

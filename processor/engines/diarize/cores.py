"""How many cores torch uses in a thread."""

from collections.abc import Generator
from contextlib import contextmanager

import torch


@contextmanager
def one_core() -> Generator[None]:
    """For a chain of many small steps, in which threads would wait for each other more than they work, the more so on a
    busy machine. Torch counts the cores for each thread, but those of its matrix products for the whole process."""
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(cores)

"""Where decoded samples lie: in memory up to a budget, beyond it in a file from which only what is looked at is read."""

import mmap
import os
import tempfile
import weakref
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.errors import StoreUnavailable
from turnstream.disk import unavailable

Samples = NDArray[np.float32]
SAMPLE_RATE = 16_000
_SAMPLE = 4  # bytes


class Sound(Protocol):
    """Samples to be had in slices, such as an array of them."""

    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> Samples: ...


class Spool:
    """Takes the samples of one track in memory; once they are more than the budget, in a file that has no name from the
    start: four bytes a sample, 230 MB an hour."""

    def __init__(self, directory: Path, memory_budget: int) -> None:
        self._directory = directory
        self._budget = memory_budget
        # Only the pages that are written to become real, and all go back to the system in the end.
        self._memory = mmap.mmap(-1, max(memory_budget, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._size = 0
        self._file: IO[bytes] | None = None

    def append(self, block: Samples) -> None:
        """Raises StoreUnavailable where the file cannot be written."""
        data = block.tobytes()
        with self._writing():
            if self._file is None and self._size + len(data) > self._budget:
                self._move_to_file()
            if self._file is None:
                self._memory[self._size : self._size + len(data)] = data
            else:
                self._file.write(data)
        self._size += len(data)

    def sound(self) -> Sound:
        """All that was appended. Raises StoreUnavailable where the file cannot be written."""
        if self._file is None:
            return np.frombuffer(self._memory, np.float32, self._size // _SAMPLE)
        with self._writing():
            self._file.flush()
        return _Spooled(self._directory, os.dup(self._file.fileno()), self._size // _SAMPLE)

    def close(self) -> None:
        """Sounds live on."""
        if self._file is not None:
            self._file.close()

    @contextmanager
    def _writing(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise _unavailable(self._directory, error) from error

    def _move_to_file(self) -> None:
        self._file = tempfile.TemporaryFile(dir=self._directory, prefix="waveform-")  # noqa: SIM115
        self._file.write(memoryview(self._memory)[: self._size])
        self._memory.close()


class _Spooled:
    """Samples in a file, which lives as long as this does.

    They are read, not mapped: pages of a mapping count as this process's memory once they were looked at.
    """

    def __init__(self, directory: Path, descriptor: int, length: int) -> None:
        self._directory, self._descriptor, self._length = directory, descriptor, length
        weakref.finalize(self, os.close, descriptor)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, part: slice, /) -> Samples:
        """Raises StoreUnavailable where the file cannot be read."""
        start, stop, _ = part.indices(self._length)
        samples = np.empty(max(0, stop - start), np.float32)
        try:
            count = os.preadv(self._descriptor, [samples.data], start * _SAMPLE)
        except OSError as error:
            raise _unavailable(self._directory, error) from error
        if count != samples.nbytes:
            raise StoreUnavailable(f"waveforms are spooled in {self._directory}: somebody cut the file (see DATA_DIR)")
        return samples


def _unavailable(directory: Path, error: OSError) -> StoreUnavailable:
    return unavailable("waveforms are spooled", directory, error)

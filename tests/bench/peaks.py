"""The most memory this process took while something ran."""

import resource
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import psutil

MIB = 1 << 20
_LOOK_EVERY = 0.02
_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


class Peak:
    """`with Peak() as peak:` and then its figures, in MiB.

    Linux keeps the peak of resident memory by itself and starts anew when told to; elsewhere it is that of the process's
    whole life. What is anonymous, that is not mapped from a file such as the spool, is looked at every 20 ms.
    """

    resident = anonymous = cuda = 0.0

    def __enter__(self) -> "Peak":
        with suppress(OSError):
            _RESET.write_text("5")
        if _cuda():
            import torch

            torch.cuda.reset_peak_memory_stats()
        self._over = threading.Event()
        self._looking = threading.Thread(target=self._look, daemon=True)
        self._looking.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._looking.join()
        self.resident = _high_water()
        if _cuda():
            import torch

            self.cuda = torch.cuda.max_memory_allocated() / MIB

    def _look(self) -> None:
        while True:
            self.anonymous = max(self.anonymous, anonymous())
            if self._over.wait(_LOOK_EVERY):
                return


def resident() -> float:
    return psutil.Process().memory_info().rss / MIB


def anonymous() -> float:
    """Resident memory that no file backs; all of it where the system does not tell them apart."""
    return _status("RssAnon") or resident()


def _high_water() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


def _status(name: str) -> float:
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _cuda() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized()

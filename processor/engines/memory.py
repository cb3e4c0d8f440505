"""How much memory models may take, and how much is taken: the GPU's where the networks run on one, else the machine's."""

import os
import sys
from pathlib import Path
from typing import Any, Protocol

from turnstream import allocator
from turnstream.memory import resident
from turnstream.settings import Settings

GiB = 1 << 30
WORK = GiB
"""Left free of models, for what passes and libraries take."""
_PROC, _CGROUP = Path("/proc"), Path("/sys/fs/cgroup")


class Memory(Protocol):
    @property
    def budget(self) -> int:
        """Bytes that all models together may take."""
        ...

    def used(self) -> int:
        """Bytes in use now."""
        ...

    def give_back(self) -> None:
        """Return what is free to the system, after something large was dropped."""
        ...

    def of_device(self) -> tuple[int, int] | None:
        """Bytes of the GPU's memory in use now, by whomever, and in all; None where the networks run without one."""
        ...


class DeviceMemory:
    """That of the device that the settings name. Knows of a GPU only once an engine has imported torch."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._budget: int | None = None

    @property
    def budget(self) -> int:
        if self._budget is None:  # measured once, before the first model is loaded
            self._budget = self._measured()
        return self._budget

    def _measured(self) -> int:
        if self._settings.model_memory_budget is not None:
            return self._settings.model_memory_budget
        if (cuda := self._cuda) is not None:
            return max(0, cuda.mem_get_info()[1] - WORK)
        return max(0, available() // self._settings.workers - self._settings.waveform_memory - WORK)

    def used(self) -> int:
        if (cuda := self._cuda) is not None:
            free, total = cuda.mem_get_info()
            return total - free
        return resident(os.getpid())

    def give_back(self) -> None:
        allocator.give_back()
        if (cuda := self._cuda) is not None:
            cuda.empty_cache()

    def of_device(self) -> tuple[int, int] | None:
        if (cuda := self._cuda) is None:
            return None
        free, total = cuda.mem_get_info()
        return total - free, total

    @property
    def _cuda(self) -> Any:
        cuda = sys.modules.get("torch.cuda") if self._settings.device in {"auto", "cuda"} else None
        return cuda if cuda is not None and cuda.is_available() else None


def available(proc: Path = _PROC, cgroup: Path = _CGROUP) -> int:
    """Bytes this process could still get, by the system and by the limit of the container it runs in."""
    return max(0, min([_of_machine(proc), *_of_container(proc, cgroup)]))


def _of_machine(proc: Path) -> int:
    try:
        lines = dict(line.split(":", 1) for line in (proc / "meminfo").read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _of_container(proc: Path, cgroup: Path) -> list[int]:
    """What each limited group above this process has left, of both versions of cgroups. Page cache counts as left."""
    try:
        lines = (proc / "self/cgroup").read_text().splitlines()
    except OSError:
        return []
    left: list[int] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in {"", "memory"}:
            root = cgroup / controllers
            group = root / path.strip("/")
            groups = [group, *group.parents]
            # In a container the path is often that of the host, and its own group is mounted at the root.
            for each in groups[: groups.index(root) + 1]:
                left += _left(each)
    return left


def _left(group: Path) -> list[int]:
    for limit, used, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            highest = (group / limit).read_text().strip()
            if highest == "max":
                return []
            stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            return [int(highest) - int((group / used).read_text()) + int(stat.get(cached, 0))]
        except (OSError, ValueError):
            continue
    return []

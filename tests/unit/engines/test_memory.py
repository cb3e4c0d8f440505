"""What the system says of memory, read from files as kernels write them."""

from pathlib import Path

import pytest

from processor.engines import memory
from processor.engines.memory import DeviceMemory, available
from turnstream.settings import Settings

MiB = 1 << 20


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    proc = tmp_path / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal:  16000000 kB\nMemFree:  1 kB\nMemAvailable:    8192 kB\n")
    (proc / "self/cgroup").write_text("0::/\n")
    return proc


def group(path: Path, names: tuple[str, str, str], limit: str, used: int, cached: int) -> None:
    path.mkdir(parents=True, exist_ok=True)
    highest, usage, inactive = names
    (path / highest).write_text(f"{limit}\n")
    (path / usage).write_text(f"{used}\n")
    (path / "memory.stat").write_text(f"anon 1\n{inactive} {cached}\n")


V2 = ("memory.max", "memory.current", "inactive_file")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def test_without_a_container_it_is_what_the_machine_has(proc: Path, tmp_path: Path):
    assert available(proc, tmp_path / "cgroup") == 8 * MiB


def test_a_containers_limit_counts_and_its_page_cache_does_not(proc: Path, tmp_path: Path):
    group(tmp_path / "cgroup", V2, str(6 * MiB), used=5 * MiB, cached=2 * MiB)
    assert available(proc, tmp_path / "cgroup") == 3 * MiB


def test_the_narrowest_of_the_groups_above_counts(proc: Path, tmp_path: Path):
    (proc / "self/cgroup").write_text("0::/slice/pod\n")
    group(tmp_path / "cgroup/slice", V2, str(4 * MiB), used=2 * MiB, cached=0)
    group(tmp_path / "cgroup/slice/pod", V2, "max", used=2 * MiB, cached=0)
    assert available(proc, tmp_path / "cgroup") == 2 * MiB


def test_cgroups_of_the_first_version(proc: Path, tmp_path: Path):
    (proc / "self/cgroup").write_text("5:cpu,cpuacct:/docker/1\n3:memory:/docker/1\n")
    group(tmp_path / "cgroup/memory", V1, str(7 * MiB), used=6 * MiB, cached=0)  # as it is mounted inside
    assert available(proc, tmp_path / "cgroup") == MiB


def test_a_full_container_leaves_nothing(proc: Path, tmp_path: Path):
    group(tmp_path / "cgroup", V2, str(MiB), used=2 * MiB, cached=0)
    assert available(proc, tmp_path / "cgroup") == 0


def test_the_budget_is_what_was_set(tmp_path: Path):
    assert DeviceMemory(Settings(model_memory_budget="2GiB", data_dir=tmp_path)).budget == 2 << 30


def test_by_default_models_leave_room_for_recordings_and_passes(monkeypatch: pytest.MonkeyPatch):
    settings = Settings(device="cpu")
    monkeypatch.setattr(memory, "available", lambda: 10 << 30)
    assert DeviceMemory(settings).budget == (10 << 30) - settings.waveform_memory - memory.WORK
    among_four = DeviceMemory(settings.model_copy(update={"workers": 4}))
    assert among_four.budget == (10 << 30) // 4 - settings.waveform_memory - memory.WORK
    monkeypatch.setattr(memory, "available", lambda: 1 << 20)
    assert DeviceMemory(settings).budget == 0


def test_what_is_taken_shows_and_what_is_dropped_goes_back():
    device = DeviceMemory(Settings(device="cpu"))
    device.give_back()
    before = device.used()
    block = bytearray(b"\1") * (64 * MiB)
    taken = device.used() - before
    assert 60 * MiB < taken
    del block
    device.give_back()
    assert device.used() - before < taken / 2

"""How several workers share one machine."""

import os
from pathlib import Path

import pytest

from turnstream import shares
from turnstream.settings import Settings

PLAIN = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-5f0a6f3c-0b1e-1111-2222-333344445555)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-6f0a6f3c-0b1e-1111-2222-333344445555)
"""
DIVIDED = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaa)
  MIG 3g.20gb     Device  0: (UUID: MIG-bbbb)
  MIG 3g.20gb     Device  1: (UUID: MIG-cccc)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-dddd)
"""


def settings(**given: object) -> Settings:
    return Settings(_env_file=None, **given)


def environments(gpus: list[str], environment: dict[str, str] | None = None, **given: object) -> list[dict[str, str]]:
    return [dict(share.env) for share in shares.shares(settings(**given), environment or {}, gpus)]


def test_a_single_worker_has_all_of_the_machine_and_its_old_name():
    (share,) = shares.shares(settings(metrics_port=9464), {}, ["GPU-a", "GPU-b"])
    assert (share.name, share.env) == ("worker", {"WORKER_NAME": "worker"})


def test_names_and_ports_differ():
    found = environments(["GPU-a", "GPU-b"], workers=2, metrics_port=9464)
    assert [env["WORKER_NAME"] for env in found] == ["worker-1", "worker-2"]
    assert [env["METRICS_PORT"] for env in found] == ["9464", "9465"]
    assert "METRICS_PORT" not in environments([], workers=2)[1]  # each takes a free one


def test_workers_with_an_id_have_one_each():
    """With the same they would take each other for what was there before them, and open each other's jobs."""
    assert [env["WORKER_ID"] for env in environments([], workers=2, worker_id="north")] == ["north-1", "north-2"]
    assert not any("WORKER_ID" in env for env in environments([], workers=2))
    assert "WORKER_ID" not in environments([], worker_id="north")[0]  # it has the one that is set


def test_each_worker_has_a_gpu_and_takes_turns_where_there_are_fewer():
    found = environments(["GPU-a", "GPU-b"], workers=3)
    assert [env["CUDA_VISIBLE_DEVICES"] for env in found] == ["GPU-a", "GPU-b", "GPU-a"]
    assert not any("OMP_NUM_THREADS" in env for env in found)


def test_without_a_gpu_the_cores_are_divided(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shares, "cores", lambda environment: 7)
    assert [env["OMP_NUM_THREADS"] for env in environments([], workers=3)] == ["2", "2", "2"]
    assert {env["WORKERS"] for env in environments([], workers=3)} == {"3"}  # so is the memory, by each worker
    assert environments([], workers=8)[0]["OMP_NUM_THREADS"] == "1"
    assert "OMP_NUM_THREADS" not in environments([], {"OMP_NUM_THREADS": "4"}, workers=3)[0]  # it is inherited


def test_devices_that_the_driver_lists():
    assert [id[:6] for id in shares.parse(PLAIN)] == ["GPU-5f", "GPU-6f"]
    assert shares.parse(DIVIDED) == ["MIG-bbbb", "MIG-cccc", "GPU-dddd"]
    assert shares.parse("No devices were found\n") == []


@pytest.mark.parametrize(
    ("visible", "found"), [("0, 2", ["0", "2"]), ("", []), ("-1", []), ("1,-1,2", ["1"]), ("GPU-a", ["GPU-a"])]
)
def test_what_the_environment_leaves_visible_is_divided(visible: str, found: list[str]):
    assert shares.gpus(settings(), {"CUDA_VISIBLE_DEVICES": visible}) == found


def fake_driver(folder: Path, script: str) -> None:
    command = folder / "nvidia-smi"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)


@pytest.mark.parametrize(("script", "count"), [(f"cat <<END\n{PLAIN}END", 2), ("exit 9", 0)])
def test_the_driver_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, count: int):
    fake_driver(tmp_path, script)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert len(shares.gpus(settings(), {})) == count
    assert shares.gpus(settings(device="cpu"), {}) == []


def test_a_machine_without_a_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shares.gpus(settings(), {}) == []

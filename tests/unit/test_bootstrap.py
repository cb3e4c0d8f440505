"""The checks before anything is downloaded, and what is taken out of the lock."""

import importlib.util
import re
import socket
import sys
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("bootstrap", ROOT / "deploy" / "bootstrap.py")
bootstrap = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(bootstrap)

LOCK = (ROOT / "requirements" / "lock.txt").read_text()


@pytest.mark.parametrize(
    ("system", "machine"), [("linux", "x86_64"), ("linux", "aarch64"), ("linux", "AMD64"), ("darwin", "arm64")]
)
def test_supported_platforms_pass(system: str, machine: str):
    bootstrap.check_platform(system, machine)


@pytest.mark.parametrize(
    ("system", "machine", "says"),
    [("win32", "AMD64", "WSL2"), ("darwin", "x86_64", "Apple chips"), ("linux", "riscv64", "riscv64")],
)
def test_other_platforms_get_one_line(system: str, machine: str, says: str):
    with pytest.raises(SystemExit, match=says):
        bootstrap.check_platform(system, machine)


def test_too_little_disk_says_how_much_is_needed():
    bootstrap.check_disk(free=11e9, download=3.4e9, installed=7.1e9)
    with pytest.raises(SystemExit, match=r"10\.5 GB of disk are needed, 5\.0 are free"):
        bootstrap.check_disk(free=5e9, download=3.4e9, installed=7.1e9)


def test_a_taken_port_is_said():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(SystemExit, match=f"port {port}"):
            bootstrap.check_port(port)
    bootstrap.check_port(port)


def test_an_older_python_hands_over_to_a_newer_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    newer = tmp_path / "python3.12"
    newer.touch(mode=0o755)
    handed: list = []
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(bootstrap.os, "execv", lambda *call: handed.append(call) or sys.exit(0))
    with pytest.raises(SystemExit):
        bootstrap.go_on_with_newer()
    assert handed == [(str(newer), [str(newer), *sys.argv])]


def test_without_a_newer_python_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=re.escape("Python 3.11 or newer is needed")):
        bootstrap.go_on_with_newer()


def test_a_failing_command_ends_the_run_with_what_to_do():
    with pytest.raises(SystemExit, match="Run the same again"):
        bootstrap.run([sys.executable, "-c", "raise SystemExit(3)"])


def test_an_environment_without_pip_is_made_anew_and_so_is_none(tmp_path: Path):
    assert not bootstrap.works(tmp_path / "nothing")
    venv.create(tmp_path / "bare", with_pip=False)
    assert not bootstrap.works(tmp_path / "bare" / "bin" / "python")


def test_the_stamp_changes_with_what_is_installed():
    assert bootstrap.stamp("") == bootstrap.stamp("")
    assert bootstrap.stamp("") != bootstrap.stamp("https://example.org/cpu")


def test_torch_goes_as_a_pair_with_all_that_only_its_cuda_build_wants():
    assert bootstrap.torch_pair(LOCK) == ["torch==2.14.1", "torchaudio==2.11.0"]
    left = {bootstrap.name(block) for block in bootstrap.blocks(bootstrap.without_torch(LOCK))}
    gone = {bootstrap.name(block) for block in bootstrap.blocks(LOCK)} - left
    assert {"torch", "torchaudio", "triton", "nvidia-cublas"} <= gone
    assert {"torchmetrics", "torchcodec", "numpy", "pyannote-audio"} <= left


def test_every_requirement_of_the_lock_is_pinned_and_hashed_and_none_has_an_address():
    blocks = bootstrap.blocks(LOCK)
    assert len(blocks) > 150
    for block in blocks:
        assert re.match(r"[a-z0-9.-]+==[^ ]+", block), block
        assert "--hash=sha256:" in block, block
    assert "://" not in LOCK
    assert "--index" not in LOCK


def test_every_direct_dependency_is_locked_and_has_its_reason():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    direct = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    names = {re.match(r"[\w.-]+", requirement)[0] for requirement in direct} - {"turnstream"}
    locked = {bootstrap.name(block) for block in bootstrap.blocks(LOCK)}
    reasons = (ROOT / "docs" / "dependencies.md").read_text()
    assert {name.replace(".", "-") for name in names} <= locked
    assert {
        name for name in names if not re.search(rf"^\| .*\b{re.escape(name)}\b.* \|", reasons, re.MULTILINE)
    } == set()

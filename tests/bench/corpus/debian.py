"""Files of Debian packages, fetched by apt and unpacked without installing anything."""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from turnstream.weights.cache import built, sha256_of

LIMIT = 300
"""Seconds a download may take."""


class SourceMissing(Exception):
    """A source of voices cannot be had here; the text says why."""


@dataclass(frozen=True, slots=True)
class Package:
    name: str
    version: str
    architecture: str
    sha256: str


CZECH = Package(
    "fillets-ng-data-cs", "1.0.1-1.1", "all", "3ecef99b9456f1c80c9625c6f2418642b52d58e7167a46bad7a412db17991b14"
)
DUTCH = Package(
    "fillets-ng-data-nl", "1.0.1-1.1", "all", "afb4443fda9ab507dee578b75be857d121718a1cd6017a474f30e0eb13dc9d10"
)
FLITE = Package("flite", "2.2-5", "amd64", "f4ce03470bf9974c2cb9cacd981e6be29339ef4c97cf994dd6fa3f90e6544db9")
LIBFLITE = Package("libflite1", "2.2-5", "amd64", "bfa8c591f1b47730b30b372ec38e02918a1c9795eada67684e1746390ad2f061")


def unpacked(package: Package, cache: Path) -> Path:
    """The root of what `package` would install, kept under `cache`. Raises SourceMissing."""
    target = cache / f"{package.name}-{package.sha256[:12]}"
    if target.is_dir():
        return target
    if missing := [tool for tool in ("apt-get", "dpkg") if shutil.which(tool) is None]:
        raise SourceMissing(f"{package.name} comes from Debian, and {' and '.join(missing)} is not here")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, built(target) as root:
        _run(["apt-get", "download", f"{package.name}={package.version}"], Path(folder), package)
        found = [path for path in Path(folder).glob("*.deb") if sha256_of(path) == package.sha256]
        if not found:
            raise SourceMissing(f"apt's {package.name} is not the one this set is made of (sha256 {package.sha256})")
        _run(["dpkg", "-x", str(found[0]), str(root)], Path(folder), package)
    return target


def _run(command: list[str], folder: Path, package: Package) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=LIMIT)
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise SourceMissing(f"{package.name} {package.version} cannot be had: {last}") from error
    except subprocess.TimeoutExpired as error:
        raise SourceMissing(f"{package.name} {package.version} did not come within {LIMIT} s") from error

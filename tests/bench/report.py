"""The head of every raw report: what ran where, when, and with which versions."""

import hashlib
import json
import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

ENGINE = Path(__file__).parents[2] / "processor" / "engines" / "diarize"
_VERSIONS = ("torch", "pyannote.audio", "numpy")


def head(command: str, *packages: str) -> dict[str, Any]:
    """`command` repeats the run. Versions are told of torch and pyannote, and of `packages`."""
    return {
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions((*_VERSIONS, *packages)),
        "load_average": load_average(),
    }


def load_average() -> list[float]:
    return [round(load, 2) for load in psutil.getloadavg()]


def code() -> str:
    """A short hash over the engine's sources: rows of one report may have been measured with different ones."""
    digest = hashlib.sha256()
    for path in sorted(ENGINE.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def command(module: str, arguments: Sequence[str] | None = None) -> str:
    """What was run, as a line for a shell; of a path only the last part, since the rest is one machine's."""
    given = sys.argv[1:] if arguments is None else arguments
    return shlex.join(["python", "-m", module, *(Path(each).name if each.startswith("/") else each for each in given)])


def machine() -> dict[str, Any]:
    return {
        "processor": processor(),
        "cpus": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / (1 << 30), 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def processor() -> str:
    """As the system names it, where it does."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def versions(packages: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def write(path: Path | None, document: dict[str, Any]) -> None:
    """As JSON, if there is somewhere to write it to."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1) + "\n")

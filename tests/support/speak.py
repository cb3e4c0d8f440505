"""The operation of tests/support/plugin: as an object of this process, or installed where another process finds it."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

SOURCE = Path(__file__).parent / "plugin" / "turnstream-speak"

sys.path.append(str(SOURCE))

from turnstream_speak.operation import SPEAK, SpeakResult  # noqa: E402

__all__ = ["SOURCE", "SPEAK", "SpeakResult", "install"]


def install(folder: Path) -> Path:
    """Build the distribution and unpack it, as `pip install --target` does; returns what goes into PYTHONPATH."""
    source, target = folder / "source", folder / "installed"
    shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=source, check=True, capture_output=True, timeout=60)
    [wheel] = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(target)
    return target

"""A program as a container engine starts it: a root of its own that may be read-only, mounts, a user, no rights.

It wants root and `unshare`. The root is that of this machine with what the image brings bound into it; the network is the one
it is started in. `python -m tests.support.box SPEC` becomes the program; SPEC is a `Box` as JSON.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Box:
    folder: str
    """Where the root is put together: an empty folder of this machine, another for each start."""
    command: list[str]
    environment: dict[str, str]
    """All of it: nothing is inherited."""
    user: int = 0
    read_only: bool = False
    workdir: str = "/"
    tmpfs: list[str] = field(default_factory=list)
    binds: list[tuple[str, str]] = field(default_factory=list)
    """What lies here, and where the program sees it."""
    through: list[str] = field(default_factory=list)
    """Folders of this machine that the user must be able to reach."""

    def argv(self) -> list[str]:
        enter = ["unshare", "--mount", "--propagation", "private", "--"]
        return [*enter, sys.executable, "-P", "-m", "tests.support.box", json.dumps(asdict(self))]


@cache
def why_not() -> str | None:
    """Why there are no boxes here; None where there are."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "it takes root on Linux"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "--propagation", "private", "--", "mount", "-t", "tmpfs", "none", "/mnt"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return None if tried.returncode == 0 else f"this machine allows no namespaces: {tried.stderr.strip()}"


def enter(box: Box) -> None:
    """Put the root together, and become the program in it."""
    root = _root(Path(box.folder))
    for path in box.through:
        _open_way(root, path)
    for target in box.tmpfs:
        _mount("-t", "tmpfs", "-o", "mode=1777", "none", _made(root, target))
    for source, target in box.binds:
        _mount("--rbind", source, _made(root, target, folder=Path(source).is_dir()))
    for kernel in ("/proc", "/dev"):
        _mount("--rbind", kernel, f"{root}{kernel}")
    _made(root, box.workdir)
    if box.read_only:
        _mount("-o", "remount,bind,ro", str(root))
    os.chroot(root)
    os.chdir(box.workdir)
    rights = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    who = [f"--reuid={box.user}", f"--regid={box.user}", "--clear-groups"]
    os.execvpe("setpriv", ["setpriv", *rights, *who, "--", *box.command], box.environment)  # noqa: S606


def _root(folder: Path) -> Path:
    upper, work, root = (folder / name for name in ("upper", "work", "root"))
    for path in (upper, work, root):
        path.mkdir(parents=True)
    _mount("-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={upper},workdir={work}", str(root))
    return root


def _open_way(root: Path, path: str) -> None:
    """In this root alone: what was changed lies in its upper layer."""
    for each in (Path(path), *Path(path).parents):
        inside = Path(f"{root}{each}")
        if inside.exists():
            inside.chmod(inside.stat().st_mode | 0o111)


def _made(root: Path, target: str, *, folder: bool = True) -> str:
    place = Path(f"{root}{target}")
    if folder:
        place.mkdir(parents=True, exist_ok=True)
    elif not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    return str(place)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, timeout=30)


def own(paths: Iterable[Path], user: int) -> None:
    for path in paths:
        os.chown(path, user, user)


if __name__ == "__main__":
    enter(Box(**json.loads(sys.argv[1])))

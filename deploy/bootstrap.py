"""Make the virtual environment `.venv`: `make demo` and `make test` begin here.

Before anything is downloaded it checks what would stop the installation half way, and says how much will come. What was
downloaded is kept in pip's cache, so an interrupted run goes on where it was; a finished one is recognised by a stamp, and
takes no time again. Standard library only, in words that an older Python understands: it comes as far as the line that says
that it is too old.
"""

import argparse
import hashlib
import os
import platform
import shutil
import socket
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "lock.txt"
VENV = ROOT / ".venv"
STAMP = VENV / "turnstream.stamp"
GB = 10**9
# Bytes to download and bytes installed, all wheels of the lock together.
LINUX = (3.4 * GB, 7.1 * GB)  # torch brings CUDA
MACOS = (0.5 * GB, 1.8 * GB)
CPU_ONLY = (0.6 * GB, 2.2 * GB)  # torch from an index with CPU builds
MEGABIT = 1e6 / 8
TORCH_FAMILY = ("torch", "torchaudio")
TORCH_ONLY = ("nvidia-", "triton", "cuda-")
"""Packages that only torch's CUDA build wants, by the beginning of their names."""
PLATFORMS = {("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64")}


def main(arguments: list) -> None:
    options = parse(arguments)
    wanted = stamp(options.torch_index)
    if STAMP.is_file() and STAMP.read_text() == wanted:
        return
    check(options)
    announce(options.torch_index)
    python = make_venv()
    install(python, options.torch_index)
    STAMP.write_text(wanted)
    print("bootstrap: done; the environment is in .venv", flush=True)


def parse(arguments: list) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make the virtual environment of Turnstream.")
    parser.add_argument("--torch-index", default="", help="take torch and torchaudio from this package index")
    parser.add_argument("--port", type=int, default=0, help="check that this port is free; 0 checks that any is")
    return parser.parse_args(arguments)


def stamp(torch_index: str) -> str:
    """What the environment is made from: another lock, project file, index or place makes it anew."""
    digest = hashlib.sha256()
    for part in (LOCK.read_bytes(), (ROOT / "pyproject.toml").read_bytes(), torch_index.encode(), str(ROOT).encode()):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest() + "\n"


# The checks: each raises SystemExit with one line that says what to do.


def check(options: argparse.Namespace) -> None:
    check_platform(sys.platform, platform.machine())
    if sys.version_info < OLDEST:
        go_on_with_newer()
    check_venv()
    check_disk(shutil.disk_usage(str(ROOT)).free, *sizes(options.torch_index))
    check_port(options.port)


def check_platform(system: str, machine: str) -> None:
    if system == "win32":
        refuse("on Windows, run this inside WSL2 (https://learn.microsoft.com/windows/wsl/install)")
    machine = {"amd64": "x86_64", "arm64": "arm64" if system == "darwin" else "aarch64"}.get(machine.lower(), machine)
    if (system, machine) not in PLATFORMS:
        refuse(
            f"{system} on {machine} is not supported: Linux on x86-64 or arm64, macOS on Apple chips, Windows through WSL2"
        )


def go_on_with_newer() -> None:
    """Become a newer Python of this machine, the oldest that will do."""
    for minor in range(OLDEST[1], OLDEST[1] + 4):
        newer = shutil.which(f"python3.{minor}")
        if newer:
            os.execv(newer, [newer, *sys.argv])  # noqa: S606 - ourselves again
    refuse(f"Python 3.11 or newer is needed, this is {version()}: install one, then make PYTHON=python3.11")


def check_venv() -> None:
    try:
        import ensurepip  # noqa: F401 - Debian splits both off
        import venv  # noqa: F401
    except ImportError:
        refuse("this Python cannot make virtual environments: apt install python3-venv, or its like")


def check_disk(free: float, download: float, installed: float) -> None:
    needed = download + installed  # pip keeps what it downloaded
    if free < needed:
        refuse(f"{needed / GB:.1f} GB of disk are needed, {free / GB:.1f} are free in {ROOT}")


def check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            refuse(f"port {port} of 127.0.0.1 cannot be had: {error.strerror}")


def refuse(line: str) -> None:
    sys.exit("bootstrap: " + line)


def version() -> str:
    return sys.version.split()[0]


# The installation


def sizes(torch_index: str) -> tuple:
    return CPU_ONLY if torch_index else MACOS if sys.platform == "darwin" else LINUX


def announce(torch_index: str) -> None:
    download, installed = sizes(torch_index)
    fast, slow = (max(1, round(download / (speed * MEGABIT) / 60)) for speed in (500, 50))
    print(f"bootstrap: {download / GB:.1f} GB will be downloaded (some {fast} min at 500 Mbit/s, {slow} min at 50)")
    print(
        f"bootstrap: with the installation, {installed / GB:.1f} GB in .venv, it takes some {fast + 3} to {slow + 5} minutes"
    )
    if sys.platform == "linux" and not torch_index:
        print("bootstrap: without an NVIDIA GPU less: TORCH_INDEX=<index with CPU builds of torch>")
    print("bootstrap: interrupt it when you like: what is there is kept", flush=True)


def make_venv() -> str:
    python = VENV / "bin" / "python"
    if not works(python):
        print(f"bootstrap: making .venv with Python {version()}", flush=True)
        run([sys.executable, "-m", "venv", "--clear", str(VENV)])
    STAMP.unlink(missing_ok=True)
    return str(python)


def works(python: Path) -> bool:
    """Whether there is a whole environment of this very Python, maybe without packages."""
    if not python.is_file():
        return False
    probe = "import pip, sys; print(*sys.version_info[:2], sys.base_prefix)"
    answer = subprocess.run([str(python), "-c", probe], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    ours = "{} {} {}".format(*sys.version_info[:2], sys.base_prefix)
    return answer.returncode == 0 and answer.stdout.decode().strip() == ours


def install(python: str, torch_index: str) -> None:
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-deps"]
    lock = LOCK.read_text()
    if torch_index:
        print(f"bootstrap: torch and torchaudio from {torch_index}", flush=True)
        run([*pip, "--index-url", torch_index, *torch_pair(lock)])
        lock = without_torch(lock)
    rest = VENV / "lock.txt"
    rest.write_text(lock)
    print(f"bootstrap: installing {len(blocks(lock))} packages", flush=True)
    run([*pip, "--require-hashes", "-r", str(rest)])
    run([*pip, "--quiet", "--no-build-isolation", "-e", str(ROOT)])


def blocks(lock: str) -> list:
    """The lock's requirements, each with its hashes."""
    found = []
    for line in lock.splitlines(True):
        if line[:1].isalnum():
            found.append(line)
        elif found and line[:1].isspace():
            found[-1] += line
    return found


def name(block: str) -> str:
    return block.split("==", maxsplit=1)[0].strip()


def torch_pair(lock: str) -> list:
    """`torch==X` and `torchaudio==Y` as the lock has them: only as a pair do they load."""
    return [block.split()[0] for block in blocks(lock) if name(block) in TORCH_FAMILY]


def without_torch(lock: str) -> str:
    return "".join(
        each for each in blocks(lock) if name(each) not in TORCH_FAMILY and not name(each).startswith(TORCH_ONLY)
    )


def run(command: list) -> None:
    code = subprocess.call(command)
    if code:
        refuse(
            "`{}` failed; the lines above say why. Run the same again to go on from here.".format(
                " ".join(command[1:4])
            )
        )


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit("\nbootstrap: interrupted; run the same again to go on from here")

"""Fill the virtual environment of an image, from outside it: `python deploy/packages.py VENV LOCK|WHEELS [--torch-index URL]`.

LOCK: a compiled list with hashes. WHEELS: a folder of wheels that are taken as they are. With an index for torch, torch and
torchaudio come from there, in the versions of the lock and without its hashes; what only torch's CUDA build wants is left out.
"""

import argparse
import tempfile
from pathlib import Path

from bootstrap import run, torch_pair, without_torch


def main(arguments: list) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("venv", type=Path)
    parser.add_argument("source", type=Path)
    parser.add_argument("--torch-index", default="")
    options = parser.parse_args(arguments)
    for command in commands(options.venv, options.source, options.torch_index):
        run(command)


def commands(venv: Path, source: Path, torch_index: str) -> list:
    pip = ["pip", "--python", str(venv / "bin" / "python"), "install", "--no-deps"]
    if source.is_dir():
        return [[*pip, *map(str, sorted(source.glob("*.whl")))]]
    hashed = [*pip, "--require-hashes", "--requirement"]
    if not torch_index:
        return [[*hashed, str(source)]]
    lock = source.read_text()
    rest = Path(tempfile.mkdtemp()) / source.name
    rest.write_text(without_torch(lock))
    return [[*pip, "--index-url", torch_index, *torch_pair(lock)], [*hashed, str(rest)]]


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])

"""Runs of stock pyannote over long files, kept from one bench to the next."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from tests.bench import report
from tests.bench.corpus.reference import Spoken
from tests.bench.ways import Run
from turnstream.weights.cache import sha256_of

_BELONGS = ("torch", "torchaudio", "pyannote.audio", "numpy", "scipy")


def remembered(folder: Path, way: str, device: str, weights: str, audio: Path, run: Callable[[Path], Run]) -> Run:
    """A run of this way over this file, with these versions and `weights`, on this machine: an earlier one, or now a new one."""
    belongs = [way, device, weights, sha256_of(audio), report.machine(), report.versions(_BELONGS)]
    path = folder / f"{hashlib.sha256(json.dumps(belongs, sort_keys=True).encode()).hexdigest()[:24]}.json"
    if path.exists():
        stored = json.loads(path.read_text())
        return Run(**stored | {"turns": [Spoken(*turn) for turn in stored["turns"]]})
    made = run(audio)
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(asdict(made)))
    part.replace(path)
    return made

"""A long recording takes disk, not memory. The networks and the clustering here answer at once, in the real ones' sizes."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

MiB = 1 << 20

MEASURE = """
import json, resource, sys
from pathlib import Path
from tests.support import engine as support
support.SIZE, support.STEP, support.FRAMES, support.SPEAKERS, support.DIMENSION = 160_000, 16_000, 589, 3, 256

import numpy as np
import torch
from processor.audio import decode
from schemas.jobs import DiarizeParams

torch.set_num_threads(1)
support.noted = lambda *_: None  # the lists of passes would grow
support._QuickSegmenter.__call__ = lambda self, windows: (np.ones((len(windows), 589, 3), np.uint8), [0] * len(windows))

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

def recording(job, cancelled):
    with path.open("rb") as file:
        return decode(file, path.parent, 8 << 20, 1e9, cancelled)

peaks, sizes = [], []
for path in map(Path, sys.argv[1:]):
    shelf = support.shelf_of(recording)
    engine = support.made(shelf, support.QuickModel)
    engine.open(support.task())
    [end] = support.ends(support.run(engine, support.all_ended(engine)))
    result = support.result_of(end)
    engine.close()
    peaks.append(peak())
    sizes.append([len(data) for data in shelf.kept.values()])
print(json.dumps({"peaks": peaks, "kept": sizes, "duration": result.audio.duration}))
"""


def measured(*paths: Path) -> dict:
    command = [sys.executable, "-c", MEASURE, *map(str, paths)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1000)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def silence(directory: Path, seconds: int) -> Path:
    """An AU file of zeros at 16 kHz, which is a hole in a file."""
    path = directory / f"{seconds}.au"
    path.write_bytes(struct.pack(">4s5I", b".snd", 24, 2 * 16_000 * seconds, 3, 16_000, 1))
    with path.open("r+b") as file:
        file.truncate(24 + 2 * 16_000 * seconds)
    return path


@pytest.mark.timeout(300)
def test_from_ten_minutes_to_two_hours_memory_grows_by_what_is_said_not_by_what_is_heard(tmp_path: Path) -> None:
    short, long = (silence(tmp_path, seconds) for seconds in (600, 7200))
    found = measured(short, long)

    assert found["duration"] == pytest.approx(2 * 3600, abs=1)
    assert found["peaks"][1] - found["peaks"][0] < 250 * MiB  # the samples are 440 MiB

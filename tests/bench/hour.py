"""One hour in processor time: `python -m tests.bench.hour stock-1|exact|fast [--file NAME] [--out FILE]`.

Stock takes most of an hour for an hour of speech on two cores. This bench counts the seconds that the cores worked for it,
not those that passed, so that it can run beside other work, and on different days: `tests.bench.engine` has the paired runs
of shorter files. What it found is kept in docs/benchmarks/hour.json beside what the other ways took with the same versions on
the same machine, with the error rates of all, and compared as soon as stock is among them.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

# Waiting threads that spin would count as working ones, the more so the busier the machine.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

from rich.console import Console

from tests.bench import report
from tests.bench.comparing import COLLAR
from tests.bench.corpus.__main__ import made
from tests.bench.corpus.reference import Spoken
from tests.bench.der import errors
from tests.bench.ways import decoded, way
from tests.support.recordings import sample_waveform

OUT = Path("docs/benchmarks/hour.json")
STOCK = "stock-1"


def measured(name: str, audio: Path) -> dict[str, Any]:
    chosen, samples = way(name, "cpu"), decoded(audio)
    chosen.diarize(sample_waveform(10))
    passed, worked = time.perf_counter(), time.process_time()
    turns, told = chosen.diarize(samples)
    return {
        "load_average": report.load_average(),
        "processor_seconds": round(time.process_time() - worked, 1),
        "seconds": round(time.perf_counter() - passed, 1),
        "audio_seconds": len(samples) / 16_000,
        "told": told,
        "turns": [[turn.speaker, turn.start, turn.end] for turn in turns],
    }


def rates(run: dict[str, Any], reference: list[Spoken]) -> dict[str, float]:
    """Diarization error rates in percent, without and with a collar."""
    turns, seconds = [Spoken(*turn) for turn in run["turns"]], run["audio_seconds"]
    rate = errors(reference, turns, seconds).rate
    return {"der": round(rate, 3), "der_collar": round(errors(reference, turns, seconds, COLLAR).rate, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("way", help="stock-1, exact or fast")
    parser.add_argument("--file", default="hour", help="a recording of the set")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    [recording] = made([arguments.file], Console(stderr=True))
    found = measured(arguments.way, recording.audio)
    document = {**report.head(report.command("tests.bench.hour")), "file": recording.name}
    before = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    same = all(before.get(key, document[key]) == document[key] for key in ("machine", "versions", "file"))
    runs = (before.get("runs", {}) if same else {}) | {arguments.way: found}
    reference = recording.turns()
    for run in runs.values():
        run.update(rates(run, reference))
    report.write(arguments.out, document | {"speakers": len({turn.speaker for turn in reference}), "runs": runs})
    for name, run in runs.items():
        row: dict[str, Any] = {"way": name, "speakers": len({speaker for speaker, *_ in run["turns"]})}
        row |= {"der": run["der"], "der_collar": run["der_collar"]}
        row["processor_seconds"] = run["processor_seconds"]
        if STOCK in runs:
            row["times_stock"] = round(runs[STOCK]["processor_seconds"] / run["processor_seconds"], 2)
            row["segments_equal"] = run["turns"] == runs[STOCK]["turns"]
        print(json.dumps(row))


if __name__ == "__main__":
    main()

"""A wrong number of speakers corrected: `python -m tests.bench.again [--file NAME] [--speakers N...] [--mode MODE] [--out FILE]`.

A recording is diarized as it is, then again from what was kept of that run, with each number of speakers. The last number is
asked for once more of a job that nothing is kept of: its turns must be those of the further run. Two full runs of an hour take
twenty minutes on two cores.
"""

import argparse
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.bench import report
from tests.bench.corpus.__main__ import made
from tests.bench.ways import Ours, decoded
from tests.support.engine import again
from tests.support.recordings import sample_waveform

LIMIT = 3.0
"""Seconds that a further run of an hour may take."""
console = Console(stderr=True)


def timed(engine: Ours, job: Any) -> tuple[Any, dict[str, Any]]:
    began = time.perf_counter()
    result = engine.computed(job)
    spent = {"seconds": round(time.perf_counter() - began, 3), "timings": result.timings.model_dump()}
    found = {"speakers": len({turn.speaker for turn in result.segments}), "turns": len(result.segments)}
    console.print(f"  {job.params} from {job.run}: {spent['seconds']:.2f} s, {found['speakers']} speakers")
    return result, {**found, **spent}


def compared(samples: Any, mode: str, numbers: list[int]) -> dict[str, Any]:
    engine = Ours(mode, "cpu")
    engine.diarize(sample_waveform(10))
    job = engine.put(samples)
    _, first = timed(engine, job)
    further = {number: timed(engine, again(job, num_speakers=number)) for number in numbers}
    engine.forget()
    anew, full = timed(engine, engine.put(samples, num_speakers=numbers[-1]))
    last = further[numbers[-1]][0]
    return {
        "first": first,
        "further": {str(number): told for number, (_, told) in further.items()},
        "anew": full,
        "same_as_anew": (last.segments, last.exclusive_segments) == (anew.segments, anew.exclusive_segments),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", default="hour", help="a recording of the set")
    parser.add_argument("--speakers", type=int, nargs="+", default=[3, 4], metavar="N")
    parser.add_argument("--mode", choices=["exact", "fast"], default="exact")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    [recording] = made([given.file], console)
    samples = decoded(recording.audio)
    head = report.head(report.command("tests.bench.again"))
    found = compared(samples, given.mode, given.speakers)
    slowest = max(told["seconds"] for told in found["further"].values())
    document = {**head, "file": recording.name, "audio_seconds": len(samples) / 16_000, "mode": given.mode, **found}
    print(f"{slowest:.2f} s at most (limit {LIMIT:.0f} s for an hour); as anew: {found['same_as_anew']}")
    if given.out:
        report.write(given.out, document)


if __name__ == "__main__":
    main()

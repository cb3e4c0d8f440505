"""Short files together against one by one: `python -m tests.bench.batching [--pairs N] [--seconds S] [--mode fast] [--out FILE]`.

16 recordings of 5 seconds (or S) through the diarization engine, with the model loaded: each opened when the one before has
ended, and all open at once. The two ways take turns, in pairs whose order alternates, on the same recordings.
"""

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from processor.engines.base import Engine, EngineContext, Finished, JobTask
from processor.engines.hub import Hub
from tests.bench import report
from tests.support.engine import Shelf, all_ended, ends, result_of, run, task
from tests.support.recordings import SAMPLE_RATE, sample_waveform
from turnstream import weights
from turnstream.settings import Settings

FILES = 16


def segments_of(outcomes: list[Any]) -> dict[str, Any]:
    found = {}
    for end in ends(outcomes):
        assert isinstance(end, Finished), end
        found[end.id[0]] = [segment.model_dump() for segment in result_of(end).segments]
    return found


def one_by_one(hub: Hub, jobs: list[JobTask]) -> dict[str, Any]:
    outcomes: list[Any] = []
    for job in jobs:
        hub.open(job)
        outcomes += run(hub, all_ended(hub))
    return segments_of(outcomes)


def together(hub: Hub, jobs: list[JobTask]) -> dict[str, Any]:
    for job in jobs:
        hub.open(job)
    return segments_of(run(hub, all_ended(hub)))


def measured(pairs: int, seconds: float, mode: str | None) -> list[dict[str, Any]]:
    settings = Settings()
    weights.quiet(settings)
    from processor.engines.diarize.start import diarize_engine

    shelf, samples, length = Shelf(), sample_waveform(), round(seconds * SAMPLE_RATE)
    starts = [round(n * (30 - seconds) / (FILES - 1) * SAMPLE_RATE) for n in range(FILES)]
    jobs = [
        shelf.put(task(**{"mode": mode} if mode else {}), samples[start : start + length].copy()) for start in starts
    ]

    def make(model: str, context: EngineContext) -> Engine:
        return diarize_engine(replace(context, recordings=shelf))

    hub = Hub(settings, make)
    together(hub, jobs[:2])  # loads the model
    rounds: list[dict[str, Any]] = []
    for n in range(pairs):
        found: dict[str, Any] = {}
        took: dict[str, float] = {}
        for way in (one_by_one, together) if n % 2 == 0 else (together, one_by_one):
            shelf.kept.clear()  # or what the run before left would be clustered again, and nothing computed
            began = time.perf_counter()
            found[way.__name__] = way(hub, jobs)
            took[way.__name__] = round(time.perf_counter() - began, 3)
        identical = found["one_by_one"] == found["together"]
        rounds.append(
            {**took, "ratio": round(took["together"] / took["one_by_one"], 3), "segments_identical": identical}
        )
    hub.close()
    return rounds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--mode", help="exact or fast; as the service is set by default")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    document = report.head(report.command("tests.bench.batching"))
    rounds = measured(given.pairs, given.seconds, given.mode)
    median = statistics.median(each["ratio"] for each in rounds)
    for each in rounds:
        print(each)
    print(f"together / one by one, median: {median:.3f}")
    found = {"files": FILES, "seconds_each": given.seconds, "median_ratio": median, "pairs": rounds}
    report.write(given.out, document | found)


if __name__ == "__main__":
    main()

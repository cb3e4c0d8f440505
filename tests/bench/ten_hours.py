"""What follows the networks, on a recording of ten hours that nobody spoke: `python -m tests.bench.ten_hours [--hours 10]`.

Windows, activity and voice prints are made up (tests/support/analyses.py): a conversation of some speakers with some windows
that fit nobody. Reports seconds by phase and how much memory comes on top of what the networks said, in a process of its own.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch

from tests.bench.peaks import Peak, resident
from tests.bench.report import command, head, write

OUT = Path(__file__).parents[2] / "docs" / "benchmarks" / "ten_hours.json"
SPEAKERS = 6


class Watch:
    """The time that some functions take where a module calls them: on the wall, and of the processor."""

    vectors = 0
    """That were clustered."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = {}
        self.processor: dict[str, float] = {}

    def over(self, module: Any, name: str) -> None:
        function: Callable[..., Any] = getattr(module, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.vectors = self.vectors or len(args[0]) if name == "centroid_linkage" else self.vectors
            with self(name):
                return function(*args, **kwargs)

        setattr(module, name, call)

    @contextmanager
    def __call__(self, name: str) -> Generator[None]:
        wall, processor = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.wall[name] = round(self.wall.get(name, 0) + time.perf_counter() - wall, 3)
            self.processor[name] = round(self.processor.get(name, 0) + time.process_time() - processor, 3)


def measured(hours: float, params: dict[str, Any], threads: int) -> dict[str, Any]:
    """In a process of its own."""
    torch.set_num_threads(threads)
    from processor.engines.diarize import speakers, steps
    from processor.engines.diarize.clustering import cluster
    from schemas.jobs import DiarizeParams
    from tests.support.analyses import VBX, Conversation, Stock, plda

    with tempfile.TemporaryDirectory() as directory:
        clustering = Stock("VBxClustering", VBX, plda(Path(directory), 256)).steps()
    analysis = Conversation(windows=round(hours * 3600), speakers=SPEAKERS, seed=1, strangers=0.02).analysis()
    watch = Watch()
    for module, name in (
        (speakers, "centroid_linkage"),
        (speakers, "responsibilities"),
        (steps, "clustered"),
        (steps, "reconstruct"),
        (steps, "annotation"),
        (steps, "turns"),
    ):
        watch.over(module, name)
    before = resident()
    with Peak() as peak, watch("total"):
        found = cluster(clustering, analysis, DiarizeParams(**params))
    return {
        "hours": hours,
        "params": params,
        "vectors": watch.vectors,
        "speakers": len(found.speakers),
        "turns": len(found.turns),
        "seconds": watch.wall,
        "processor_seconds": watch.processor,
        "analysis_mib": round((analysis.activity.nbytes + analysis.vectors.nbytes) / 2**20),
        "peak_growth_mib": round(peak.resident - before),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, nargs="+", default=[1.0, 10.0])
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False) or 1)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    document = head(command("tests.bench.ten_hours"), "scipy", "scikit-learn")
    runs = document["runs"] = []
    for hours in given.hours:
        for params in ({}, {"num_speakers": SPEAKERS - 1}):
            with multiprocessing.get_context("spawn").Pool(1) as alone:
                runs.append(alone.apply(measured, (hours, params, given.threads)))
            print(runs[-1], flush=True)
            write(given.out, document)


if __name__ == "__main__":
    main()

"""What the length of a recording costs: `python -m tests.bench.length [--modes exact,fast] [--files NAME...] [--out FILE]`.

Ten minutes and two hours, each in an engine process of its own: fetched from the store, decoded to the spool, computed.
Told are the peaks of memory beyond the loaded and warm model, with and without what is mapped from files (the spool), and the
seconds of the networks for each hour of audio; clustering, which is not linear, stands apart.
"""

import argparse
import hashlib
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.bench import report
from tests.bench.corpus.__main__ import made
from tests.bench.corpus.making import Recording, ready

FILES = ("ten_minutes", "two_hours")
MEMORY_LIMIT, TIME_LIMIT = 300.0, 1.10
"""MiB that the longest may take more than the shortest, and its seconds an hour over those of the shortest."""


def measured(audio: Path, mode: str, device: str) -> dict[str, Any]:
    """To be called in a process of its own."""
    warnings.simplefilter("ignore")
    from turnstream import weights
    from turnstream.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(device=device, data_dir=Path(folder), model_idle_seconds=0)
        weights.quiet(settings)
        from processor.engines.hub import Hub
        from tests.bench import peaks
        from tests.support.recordings import sample_wav

        hub = Hub(settings)
        _result(hub, settings, sample_wav(), mode)  # loads the model, and warms it
        resident, anonymous = peaks.resident(), peaks.anonymous()
        with peaks.Peak() as peak:
            result = _result(hub, settings, audio, mode)
        hub.close()
    spent, hours = result.timings, result.audio.duration / 3600
    return {
        "seconds": round(result.audio.duration, 1),
        "networks_s": round(spent.segmentation + spent.embedding, 2),
        "networks_s_an_hour": round((spent.segmentation + spent.embedding) / hours, 2),
        "clustering_s": spent.clustering,
        "decode_s": spent.decode,
        "total_s": spent.total,
        "growth_mib": round(peak.resident - resident, 1),
        "anonymous_growth_mib": round(peak.anonymous - anonymous, 1),
        "spool_mib": round(result.audio.duration * 16_000 * 4 / peaks.MIB, 1),
        "cuda_mib": round(peak.cuda, 1),
        "speakers": result.num_speakers,
        "mode": str(result.model.mode),
        "warnings": result.warnings,
    }


def _result(hub: Any, settings: Any, audio: Path, mode: str) -> Any:
    """Of a job whose recording is in the store."""
    from processor.engines.base import JobTask
    from tests.support.engine import all_ended, ends, result_of, run
    from tests.support.worker import new_job
    from turnstream.object_store import connect
    from turnstream.records import Records

    job = new_job(audio.name)
    assert job.audio is not None
    with audio.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        info = job.audio.model_copy(update={"size": audio.stat().st_size, "sha256": digest})
        job = job.model_copy(update={"audio": info})
        file.seek(0)
        Records(connect(settings)).create(job, file)
    hub.open(JobTask(job, "live", "diarize", {"mode": mode}))
    [end] = ends(run(hub, all_ended(hub)))
    return result_of(end)


def compared(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The longest against the shortest."""
    short, long = (pick(runs, key=lambda run: run["seconds"]) for pick in (min, max))
    ratio = long["networks_s_an_hour"] / short["networks_s_an_hour"]
    more = long["anonymous_growth_mib"] - short["anonymous_growth_mib"]
    return {
        "memory_mib": round(more, 1),
        "memory_limit_mib": MEMORY_LIMIT,
        "seconds_an_hour": round(ratio, 3),
        "seconds_an_hour_limit": TIME_LIMIT,
        "within": more < MEMORY_LIMIT and ratio < TIME_LIMIT,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modes", type=lambda text: text.split(","), default=["exact", "fast"])
    parser.add_argument("--files", nargs="+", default=list(FILES), metavar="NAME")
    parser.add_argument("--corpus", type=Path, help="a folder of recordings with RTTM beside them")
    parser.add_argument("--device", choices=["cpu", "cuda", "mps"], default="cpu")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    console = Console(stderr=True)
    found: list[Recording] = ready(given.corpus, given.files) if given.corpus else made(given.files, console)
    document = report.head(report.command("tests.bench.length"))
    document |= {"device": given.device, "modes": {}}
    for mode in given.modes:
        runs: list[dict[str, Any]] = []
        for recording in found:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                runs.append(
                    {"name": recording.name, **pool.submit(measured, recording.audio, mode, given.device).result()}
                )
            console.print(mode, runs[-1])
        document["modes"][mode] = {"runs": runs, "longest_against_shortest": compared(runs)}
        print(mode, document["modes"][mode]["longest_against_shortest"])
        report.write(given.out, document)


if __name__ == "__main__":
    main()

"""Memory over swaps of models: `python -m tests.bench.swaps [--swaps N] [--out FILE]`.

In an engine process with room for one model, diarize and transcribe take turns: each swap loads the one, unloads the
other, and computes a job of 5 seconds. Printed is what the process takes in physical memory after each.
"""

import argparse
import asyncio
import io
import tempfile
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from processor.engine_process import EngineProcess
from processor.engines.base import EngineLost, Failed, Finished, JobTask, ModelsChanged
from schemas.jobs import Job
from tests.bench import report
from tests.support.recordings import SAMPLE_RATE, sample_waveform, wav
from tests.support.worker import new_job
from turnstream.object_store import connect
from turnstream.records import Records
from turnstream.settings import Settings

MODELS = ("diarize", "transcribe")
LIMIT = 300
"""Seconds one swap may take."""
MiB = 1 << 20


@dataclass(frozen=True, slots=True)
class Swap:
    model: str
    resident: int
    """Bytes of the process after the job."""
    load_seconds: float
    size: int
    """Bytes of the model, as the engine process measured."""


async def swaps(count: int, directory: Path) -> list[Swap]:
    # Each job is another run of the first: what that one kept would serve diarization without its model.
    settings = Settings(data_dir=directory, model_memory_budget=1, keep_analysis=False)
    job = stored_job(settings, directory)
    engine = EngineProcess(settings)
    await engine.start()
    try:
        return [await swap(engine, MODELS[i % 2], job, f"swap-{i + 1}") for i in range(count)]
    finally:
        await engine.close()


async def swap(engine: EngineProcess, model: str, job: Job, run: str) -> Swap:
    await engine.focus(model)
    await engine.open(JobTask(job, run, model, {}))
    seconds = size = 0.0
    async with asyncio.timeout(LIMIT), aclosing(engine.outcomes()) as outcomes:
        async for outcome in outcomes:
            if isinstance(outcome, ModelsChanged):
                for load in outcome.loads:
                    seconds, size = load.seconds, load.bytes
            elif isinstance(outcome, Failed | EngineLost):
                raise RuntimeError(outcome.error.detail)
            elif isinstance(outcome, Finished):
                break
    return Swap(model, psutil.Process(engine.pid).memory_info().rss, round(seconds, 2), int(size))


def stored_job(settings: Settings, directory: Path, seconds: float = 5) -> Job:
    """A job whose recording is in the store: the beginning of the sample."""
    data = wav(sample_waveform(seconds), SAMPLE_RATE, directory / "sample.wav").read_bytes()
    job = new_job("sample.wav")
    assert job.audio is not None
    job = job.model_copy(update={"audio": job.audio.model_copy(update={"size": len(data)})})
    Records(connect(settings)).create(job, io.BytesIO(data))
    return job


def growth(series: list[Swap]) -> float:
    """The last swap's memory over that of the second, which had the same model."""
    return series[-1].resident / series[1].resident


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swaps", type=int, default=50)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        series = asyncio.run(swaps(given.swaps, Path(directory)))
    for number, each in enumerate(series, 1):
        print(f"{number:3} {each.model:12}{each.resident / MiB:8.0f} MiB  loaded in {each.load_seconds:5.2f} s")
    print(f"after the last / after the second: {growth(series):.3f}")
    document = report.head(report.command("tests.bench.swaps"))
    found = {"growth": round(growth(series), 4), "swaps": [asdict(each) for each in series]}
    report.write(given.out, document | found)


if __name__ == "__main__":
    main()

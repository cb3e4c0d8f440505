"""A mix of real jobs on the embedded stack, beside the simulation of it: `python -m tests.bench.mix [--out FILE]`.

MODEL_MEMORY_BUDGET leaves room for one model, so each turn to the other one is a swap. First each model's pace is taken
(jobs of it alone, all at once), and its loads as the worker measures them; then 200 jobs of 5 s of real speech, each a
diarization or a transcription by the toss of a coin, are submitted as fast as the API takes them. The simulation gets the times
at which they were accepted, those paces and those loads, and nothing else of the second part.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from processor.scheduler import Scheduler
from tests.bench import report
from tests.bench.scheduling.patterns import Arrival, Pattern
from tests.bench.scheduling.simulation import Outcome, Worker
from tests.support.recordings import SAMPLE_RATE, sample_waveform, wav
from tests.support.stack import Stack, running_stack
from turnstream.settings import Settings

MODELS = ("diarize", "transcribe")
JOBS, CALIBRATION = 200, 24
SECONDS = 5
SENDERS = 8
LIMIT = 1800.0


def cuts(folder: Path, count: int) -> list[Path]:
    """Pieces of real speech, each from another moment of the sample."""
    speech, places = sample_waveform(), random.Random(11)  # noqa: S311
    length = SECONDS * SAMPLE_RATE
    starts = [places.randrange(len(speech) - length) for _ in range(count)]
    return [wav(speech[at : at + length], SAMPLE_RATE, folder / f"{number}.wav") for number, at in enumerate(starts)]


def submit(client: httpx.Client, piece: Path, operation: str) -> str:
    with piece.open("rb") as audio:
        answer = client.post("/api/v1/jobs", data={"operation": operation}, files={"audio": (piece.name, audio)})
    return answer.raise_for_status().json()["id"]


def submit_all(url: str, pieces: list[Path], operations: list[str]) -> list[str]:
    with httpx.Client(base_url=url, timeout=60) as client, ThreadPoolExecutor(SENDERS) as senders:
        return list(senders.map(lambda of: submit(client, *of), zip(pieces, operations, strict=True)))


def ended(url: str, ids: list[str]) -> list[dict[str, Any]]:
    """Each job with its result, once all have ended."""
    jobs: list[dict[str, Any]] = []
    deadline = time.monotonic() + LIMIT
    with httpx.Client(base_url=url, timeout=60) as client:
        for id in ids:
            while (state := client.get(f"/api/v1/jobs/{id}").json()["state"]) != "succeeded":
                if state in {"failed", "cancelled"} or time.monotonic() > deadline:
                    raise RuntimeError(f"job {id} is {state}")
                time.sleep(0.2)  # a pause between two looks, so that looking does not take the time that is measured
            job = client.get(f"/api/v1/jobs/{id}").json()
            jobs.append(job | {"result": client.get(f"/api/v1/jobs/{id}/result").json()})
    return jobs


def metrics(stack: Stack) -> dict[str, float]:
    """By name, or name and model."""
    text = httpx.get(f"{stack.worker()['probes']}/metrics", timeout=10).text
    return {
        "/".join((sample.name, *filter(None, [sample.labels.get("model")]))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "le" not in sample.labels
    }


def accepted(job: dict[str, Any]) -> float:
    return datetime.fromisoformat(job["created_at"]).timestamp()


def opened(job: dict[str, Any]) -> float:
    return accepted(job) + job["result"]["timings"]["queue"]


def finished(job: dict[str, Any]) -> float:
    return opened(job) + job["result"]["performance"]


def pace(stack: Stack, pieces: list[Path], model: str) -> float:
    """Seconds from one end to the next while only jobs of this model are there; those before the last swap do not count."""
    warm = submit_all(stack.url, pieces[:1], [model])
    ended(stack.url, warm)
    jobs = ended(stack.url, submit_all(stack.url, pieces[:CALIBRATION], [model] * CALIBRATION))
    return (max(map(finished, jobs)) - min(map(opened, jobs))) / len(jobs)


def percentiles(seconds: list[float]) -> dict[str, float]:
    seconds = sorted(seconds)
    return {
        "p50": round(statistics.median(seconds), 2),
        "p95": round(seconds[int(len(seconds) * 0.95)], 2),
        "max": round(seconds[-1], 2),
    }


def simulated(
    jobs: list[dict[str, Any]], paces: dict[str, float], loads: dict[str, float], loaded: str
) -> dict[str, Any]:
    settings = Settings()
    began = min(map(accepted, jobs))
    arrivals = sorted(
        (
            Arrival(round(1000 * (accepted(job) - began)), job["operation"], round(1000 * paces[job["operation"]]))
            for job in jobs
        ),
        key=lambda arrival: arrival.at,
    )
    loads_ms = {model: round(1000 * seconds) for model, seconds in loads.items()}
    pattern = Pattern("mix", tuple(arrivals), loads_ms, round(1000 * max(paces.values())))
    scheduler = Scheduler(
        settings.diarization_max_batch_size,
        max_wait=settings.max_wait,
        max_run=settings.max_run,
        linger=settings.linger,
    )
    scheduler.models(frozenset({loaded}), frozenset())
    outcome: Outcome = Worker(pattern, scheduler).serve()
    return {
        "swaps": outcome.swaps,
        "total_s": round(outcome.total / 1000, 1),
        "visits": [[model, round(since / 1000, 1), round(until / 1000, 1)] for model, since, until in outcome.visits],
        "waits_s": percentiles([wait / 1000 for wait in outcome.waits]),
    }


def visits(jobs: list[dict[str, Any]]) -> list[list[Any]]:
    """Which model was there, from when to when, as the jobs were opened and ended."""
    began = min(map(accepted, jobs))
    found: list[list[Any]] = []
    for job in sorted(jobs, key=opened):
        until = round(finished(job) - began, 1)
        if found and found[-1][0] == job["operation"]:
            found[-1][2] = max(found[-1][2], until)
        else:
            found.append([job["operation"], round(opened(job) - began, 1), until])
    return found


def measured(stack: Stack, pieces: list[Path], operations: list[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    before = metrics(stack)["turnstream_swaps_total"]
    jobs = ended(stack.url, submit_all(stack.url, pieces, operations))
    return {
        "swaps": int(metrics(stack)["turnstream_swaps_total"] - before),
        "total_s": round(max(map(finished, jobs)) - min(map(accepted, jobs)), 1),
        "visits": visits(jobs),
        "waits_s": percentiles([job["result"]["timings"]["queue"] for job in jobs]),
    }, jobs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the figures here, too")
    parser.add_argument("--jobs", type=int, default=JOBS)
    arguments = parser.parse_args()
    heading = report.head(report.command("tests.bench.mix"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pieces = cuts(folder, max(arguments.jobs, CALIBRATION))
        toss = random.Random(13)  # noqa: S311
        operations = [toss.choice(MODELS) for _ in range(arguments.jobs)]
        with running_stack(folder, MODEL_MEMORY_BUDGET="1", MODEL_IDLE_SECONDS="0") as stack:
            paces = {model: pace(stack, pieces, model) for model in MODELS}
            for model in MODELS:  # loads with warm caches, as they are in the mix
                ended(stack.url, submit_all(stack.url, pieces[:1], [model]))
            counted = metrics(stack)
            loads = {
                model: counted[f"turnstream_model_load_seconds_sum/{model}"]
                / counted[f"turnstream_model_load_seconds_count/{model}"]
                for model in MODELS
            }
            real, jobs = measured(stack, pieces[: arguments.jobs], operations)
    simulation = simulated(jobs, paces, loads, MODELS[-1])
    found = {
        **heading,
        "jobs": arguments.jobs,
        "seconds_of_audio_each": SECONDS,
        "pace_s": {model: round(seconds, 3) for model, seconds in paces.items()},
        "load_s": {model: round(seconds, 3) for model, seconds in loads.items()},
        "measured": real,
        "simulated": simulation,
        "total_measured_over_simulated": round(real["total_s"] / simulation["total_s"], 3),
    }
    print(json.dumps(found, indent=2))
    report.write(arguments.out, found)


if __name__ == "__main__":
    main()

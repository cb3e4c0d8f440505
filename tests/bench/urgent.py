"""An urgent job beside a long one: `python -m tests.bench.urgent [--out FILE]`.

The time of POST /api/v1/diarize/file for 10 s of speech on an idle stack, and while an hour of speech is computed in the batch
lane: the urgent job shares each pass with the long one, and goes first.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from tests.bench import report
from tests.support.recordings import SAMPLE_RATE, sample_repeated, sample_waveform, wav
from tests.support.stack import running_stack

ROUNDS = 5
HOUR = 120
"""Times the sample of half a minute."""
LIMIT = 600.0


def seconds(client: httpx.Client, recording: Path) -> float:
    """From the first byte sent to the answer."""
    audio = recording.read_bytes()
    began = time.perf_counter()
    client.post("/api/v1/diarize/file", files={"audio": (recording.name, audio)}).raise_for_status()
    return time.perf_counter() - began


def running(client: httpx.Client, address: str) -> dict[str, Any]:
    """The job once its windows are being computed."""
    deadline = time.monotonic() + LIMIT
    while True:
        job = client.get(address).json()
        progress = job.get("progress") or {}
        if job["state"] == "running" and progress.get("fraction", 0) > 0:
            return job
        if job["state"] not in {"queued", "running"} or time.monotonic() > deadline:
            raise RuntimeError(f"the long job is {job['state']}: {job.get('error')}")
        time.sleep(0.2)  # a pause between two looks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the figures here, too")
    arguments = parser.parse_args()
    heading = report.head(report.command("tests.bench.urgent"))
    with tempfile.TemporaryDirectory() as name, running_stack(Path(name)) as stack:
        folder = Path(name)
        short = wav(sample_waveform(10), SAMPLE_RATE, folder / "short.wav")
        long = sample_repeated(HOUR, folder)
        with httpx.Client(base_url=stack.url, timeout=300) as client:
            seconds(client, short)  # loads the model
            idle = [seconds(client, short) for _ in range(ROUNDS)]
            with long.open("rb") as audio:
                answer = client.post("/api/v1/jobs", data={"lane": "batch"}, files={"audio": (long.name, audio)})
            address = answer.raise_for_status().headers["location"]
            before = running(client, address)
            beside = [seconds(client, short) for _ in range(ROUNDS)]
            after = running(client, address)
            client.post(f"{address}/cancel").raise_for_status()
    found = {
        **heading,
        "idle_s": [round(value, 3) for value in idle],
        "beside_an_hour_s": [round(value, 3) for value in beside],
        "ratio_of_medians": round(statistics.median(beside) / statistics.median(idle), 2),
        "worst_over_median_idle": round(max(beside) / statistics.median(idle), 2),
        "long_job_fraction": [job["progress"]["fraction"] for job in (before, after)],
    }
    print(json.dumps(found, indent=2))
    report.write(arguments.out, found)


if __name__ == "__main__":
    main()

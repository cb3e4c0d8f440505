"""What the service adds around the engine: `make bench`, or `python -m tests.bench.service [--out FILE]`.

Starts the embedded stack with the real model and measures, in one run:

- submission: seconds from POST /api/v1/jobs to 202 for a recording of 1 MB, on an idle stack (median, p95);
- overhead: seconds of POST /api/v1/diarize/file for the sample less the `performance` its result states (median);
- upload: growth of the API's resident memory over an upload of 1 GiB;
- pre-loading: stock pyannote given a path against stock pyannote given the decoded waveform, where torchcodec finds FFmpeg.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.bench import report
from tests.support.recordings import sample_wav
from tests.support.stack import running_stack

SUBMISSIONS = 100
ROUNDS = 5
UPLOAD = 1 << 30


def one_megabyte() -> bytes:
    """32.8 s of silence at 16 kHz, 16 bit."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(bytes((1 << 20) - 44))
    return out.getvalue()


def submission(url: str) -> dict[str, float]:
    """Each job is waited for, so that the next meets an idle stack."""
    audio = one_megabyte()
    seconds: list[float] = []
    with httpx.Client(base_url=url, timeout=60) as client:
        for _ in range(SUBMISSIONS):
            began = time.perf_counter()
            answer = client.post("/api/v1/jobs", files={"audio": ("silence.wav", audio)})
            seconds.append(time.perf_counter() - began)
            address = answer.raise_for_status().headers["location"]
            deadline = time.monotonic() + 60
            while client.get(address).json()["state"] != "succeeded":
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{address} did not end")
    seconds.sort()
    return {"median_s": statistics.median(seconds), "p95_s": seconds[int(len(seconds) * 0.95)], "n": len(seconds)}


def overhead(url: str) -> dict[str, float]:
    audio = sample_wav().read_bytes()
    added: list[float] = []
    performance: list[float] = []
    with httpx.Client(base_url=url, timeout=300) as client:
        for _ in range(ROUNDS + 1):
            began = time.perf_counter()
            answer = client.post("/api/v1/diarize/file", files={"audio": ("sample.wav", audio)})
            wall = time.perf_counter() - began
            engine = answer.raise_for_status().json()["performance"]
            added.append(wall - engine)
            performance.append(engine)
    # The first job loads the model.
    return {
        "added_median_s": statistics.median(added[1:]),
        "added_max_s": max(added[1:]),
        "performance_median_s": statistics.median(performance[1:]),
        "real_time_factor": statistics.median(performance[1:]) / 30.0,
        "n": ROUNDS,
    }


def _gigabyte() -> Iterator[bytes]:
    boundary = b"--turnstream\r\n"
    yield boundary + b'Content-Disposition: form-data; name="audio"; filename="noise.wav"\r\n\r\n'
    head = io.BytesIO()
    with wave.open(head, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.setnframes(UPLOAD // 2)
        file.writeframesraw(b"")
        yield head.getvalue()
    block = os.urandom(1 << 20)
    for _ in range(UPLOAD >> 20):
        yield block
    yield b"\r\n--turnstream--\r\n"


def upload(url: str, api_pid: int) -> dict[str, float]:
    """Nine hours of noise, taken in, stored and published; erased again at once."""
    process = psutil.Process(api_pid)
    before = peak = process.memory_info().rss
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    answer = httpx.post(
        f"{url}/api/v1/jobs",
        content=_gigabyte(),
        headers={"content-type": "multipart/form-data; boundary=turnstream"},
        timeout=600,
    )
    seconds = time.perf_counter() - began
    done.set()
    watcher.join()
    httpx.delete(f"{url}{answer.raise_for_status().headers['location']}", timeout=60).raise_for_status()
    return {"status": answer.status_code, "growth_mib": (peak - before) / 2**20, "mib_per_s": (UPLOAD >> 20) / seconds}


PRELOADING = """
import json, os, sys, time, warnings
os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
warnings.simplefilter("ignore")
import torch, torchaudio
from pyannote.audio import Pipeline
from turnstream.settings import Settings
from turnstream.weights import resolve
try:
    from torchcodec.decoders import AudioDecoder
except Exception as error:
    print(json.dumps({"skipped": f"torchcodec finds no FFmpeg libraries: {str(error).splitlines()[0]}"})); sys.exit()
path = sys.argv[1]
pipeline = Pipeline.from_pretrained(resolve(Settings()).path)
samples = AudioDecoder(path, sample_rate=16000, num_channels=1).get_all_samples()
given = {"path": path, "waveform": {"waveform": samples.data, "sample_rate": 16000, "uri": "sample"}}
times = {"path": [], "waveform": []}
for _ in range(3):
    for name, file in given.items():
        began = time.perf_counter(); pipeline(file); times[name].append(time.perf_counter() - began)
medians = {f"{name}_s": sorted(t)[1] for name, t in times.items()}
print(json.dumps(medians | {"ratio": medians["path_s"] / medians["waveform_s"]}))
"""


def preloading() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", PRELOADING, str(sample_wav())], capture_output=True, text=True, timeout=900, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the figures as JSON there")
    out: Path | None = parser.parse_args().out
    figures: dict[str, Any] = {
        **report.head("python -m tests.bench.service"),
    }
    with tempfile.TemporaryDirectory() as folder, running_stack(Path(folder)) as stack:
        for name, measure in (
            ("overhead", lambda: overhead(stack.url)),
            ("submission", lambda: submission(stack.url)),
            ("upload", lambda: upload(stack.url, stack.pids["api"])),
        ):
            figures[name] = measure()
            print(name, json.dumps(figures[name]), file=sys.stderr)
    figures["preloading"] = preloading()
    print(json.dumps(figures, indent=2))
    report.write(out, figures)


if __name__ == "__main__":
    main()

"""`turnstream demo`: one recording all the way through a stack of its own, with the figures."""

import tempfile
import time
from pathlib import Path
from typing import cast

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from schemas.errors import FileUnusable
from schemas.formats import to_json, to_rttm
from schemas.jobs import DiarizeParams
from schemas.results import DiarizationResult, Segment
from turnstream.background import Background
from turnstream.client import Client
from turnstream.sample import sample
from turnstream.settings import Settings
from turnstream.submit import first_key, follow, show, write
from turnstream.timeline import to_svg

OUTPUT = Path("demo-output")
READY_LIMIT = 180.0
"""Seconds the stack may take to start: a cold disk reads a gigabyte of libraries."""
MB, FAST = 1_000_000, 100e6 / 8
"""Bytes, and bytes a second."""
OWN_STACK = {"KAFKA_BOOTSTRAP_SERVERS": "", "BROKER": "embedded", "OBJECT_STORE": "filesystem", "HOST": "127.0.0.1"}
"""Whatever the environment or .env say, the demo touches no stack but its own."""


def demo(settings: Settings, audio: Path | None, out: Path | None) -> None:
    """Diarize `audio`, or the sample that pyannote.audio brings, and write JSON, RTTM and SVG."""
    began = time.monotonic()
    console = Console()
    recording = audio or sample("sample.wav")
    if not recording.is_file():
        raise FileUnusable(f"there is no file {recording}")
    target = out or OUTPUT / f"{recording.stem}.json"
    result = run(settings, recording, log_file(target), console)
    show(result, console)
    console.print()
    console.print(figures(result, None if audio else error_rate(result, sample("sample.rttm"))))
    written = save(result, recording.stem, target)
    console.print(f"\nwritten: {', '.join(map(str, written))}", style="dim")
    console.print(f"all of it took {time.monotonic() - began:.1f} s", style="dim")


def run(settings: Settings, recording: Path, log: Path, console: Console) -> DiarizationResult:
    """The stack comes up while the weights are made ready."""
    with tempfile.TemporaryDirectory(prefix="turnstream-") as folder, Background(Path(folder), log, OWN_STACK) as stack:
        with Status("starting broker, API and worker", console=console) as status:
            prepare_weights(settings, status)
            status.update("waiting for the worker")
            stack.wait_ready(READY_LIMIT)
        console.print(f"the stack is up; sending {recording.name}", style="dim")
        with Client(stack.url, first_key(settings)) as client:
            result = follow(client, recording, DiarizeParams(), console)
        with Status("stopping", console=console):
            stack.stop()
    return result


def prepare_weights(settings: Settings, status: Status) -> None:
    """Fetch the model here, where its progress is seen; the engine finds it in the cache."""
    from turnstream import weights

    def say(line: str) -> None:
        status.console.print(f"weights: {line}", style="dim")

    if settings.engine == "pyannote":
        if size := weights.download_size(settings):
            say(f"{size / MB:.0f} MB will be downloaded (some {max(1, round(size / FAST))} s at 100 Mbit/s)")
        weights.resolve(settings, progress=say)


def log_file(target: Path) -> Path:
    """Where the stack's lines go: beside the result, so that they are there when something failed."""
    path = target.with_suffix(".log")
    write(path, "")
    return path


def save(result: DiarizationResult, title: str, target: Path) -> list[Path]:
    texts = {target: to_json(result), target.with_suffix(".rttm"): to_rttm(result)}
    texts[target.with_suffix(".svg")] = to_svg(result, title)
    for path, text in texts.items():
        write(path, text)
    return list(texts)


def figures(result: DiarizationResult, der: float | None) -> Table:
    """How good, how fast, and where the time went."""
    timings = result.timings
    computing = max(timings.total - timings.load, 1e-3)
    duration = result.audio.duration
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    if der is not None:
        table.add_row("error rate", f"{der:.1%} DER against the reference (collar 0, overlaps scored)")
    speed = f"{duration / computing:.1f} x real time: {duration:.1f} s of sound in {computing:.1f} s on {result.model.device}"
    table.add_row("speed", speed)
    table.add_row("model", f"{result.model.name} ({result.model.source}), {result.model.mode}")
    table.add_row(
        "time went to", Text(", ".join(f"{name} {seconds:.2f} s" for name, seconds in timings if name != "total"))
    )
    return table


def error_rate(result: DiarizationResult, reference: Path) -> float:
    """The diarization error rate: missed, false and confused speech as a part of all speech."""
    from pyannote.core import Annotation, Timeline
    from pyannote.core import Segment as Stretch
    from pyannote.metrics.diarization import DiarizationErrorRate

    def annotation(turns: list[Segment]) -> Annotation:
        found = Annotation()
        for number, turn in enumerate(turns):
            found[Stretch(turn.start, turn.end), number] = turn.speaker
        return found

    whole = Timeline([Stretch(0, result.audio.duration)])
    metric = DiarizationErrorRate(collar=0.0, skip_overlap=False)
    return cast(float, metric(annotation(read_rttm(reference)), annotation(result.segments), uem=whole))


def read_rttm(path: Path) -> list[Segment]:
    """The turns of an RTTM file about one recording."""
    turns: list[Segment] = []
    for line in path.read_text().splitlines():
        kind, _, _, start, length, _, _, speaker, *_ = line.split()
        if kind == "SPEAKER":
            turns.append(Segment(speaker=speaker, start=float(start), end=float(start) + float(length)))
    return turns

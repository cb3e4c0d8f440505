"""Stock pyannote, exact and fast on the same files: `make bench-engine [DEVICE=cuda]`.

    python -m tests.bench.engine [--files NAME...] [--corpus DIR] [--ways stock-1,stock-32,exact,fast] [--pairs N]
        [--once stock-32] [--device cpu|cuda|mps] [--cached-from SECONDS] [--peer NAME=COMMAND] [--turns DIR] [--out FILE]

Each way has a process of its own, with its model loaded and warm, and they take turns: one computes at a time, in an order
that alternates from pair to pair; the ways of `--once` take part in the first pair alone. Files of `--cached-from` seconds and
more are run once by stock; that run is kept for the next bench, and marked as such. What `--out` has of other files, measured
by the same versions on the same machine, stays.
"""

import argparse
import json
from collections.abc import Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.bench import report
from tests.bench.apart import Apart
from tests.bench.comparing import MEASURE, compared, whole
from tests.bench.corpus.__main__ import DEFAULT, made
from tests.bench.corpus.making import Recording, home, ready
from tests.bench.corpus.reference import to_rttm
from tests.bench.peer import Peer
from tests.bench.remembered import remembered
from tests.bench.ways import Run, decoded
from turnstream import weights
from turnstream.settings import Settings

WAYS = (MEASURE, "stock-32", "exact", "fast")
console = Console(stderr=True)

Runner = Apart | Peer


class Contest:
    """The ways over one recording after another."""

    def __init__(self, runners: Sequence[Runner], given: argparse.Namespace) -> None:
        self._runners, self._pairs, self._once = runners, given.pairs, given.once
        self._device, self._cached_from = given.device, given.cached_from
        self._weights = weights.resolve(Settings()).revision

    def over(self, recording: Recording) -> tuple[dict[str, Any], dict[str, list[Run]]]:
        """A row of the report, and the runs behind it."""
        seconds = len(decoded(recording.audio)) / 16_000
        reference = recording.turns()
        runs: dict[str, list[Run]] = {runner.name: [] for runner in self._runners}
        cached = seconds >= self._cached_from
        for pair in range(self._pairs):
            for runner in self._runners if pair % 2 == 0 else reversed(self._runners):
                if pair and runner.name in self._once:
                    continue
                run = self._run(runner, recording.audio, cached)
                runs[runner.name].append(run)
                console.print(f"  {recording.name} {pair + 1}/{self._pairs} {runner.name}: {run.seconds:.2f} s")
        rows = compared(runs, reference, seconds, lambda: self._ties(recording.audio))
        for name, row in rows.items():
            row["cached"] = cached and name.startswith("stock")
        return {
            "name": recording.name,
            "seconds": round(seconds, 3),
            "speakers": len({turn.speaker for turn in reference}),
            "measured": datetime.now(UTC).isoformat(timespec="seconds"),
            "code": report.code(),
            "load_average": report.load_average(),
            "ways": rows,
        }, runs

    def _run(self, runner: Runner, audio: Path, cached: bool) -> Run:
        if cached and runner.name.startswith("stock"):
            return remembered(home() / "stock", runner.name, self._device, self._weights, audio, runner.run)
        return runner.run(audio)

    def _ties(self, audio: Path) -> Sequence[float]:
        stock = next(runner for runner in self._runners if runner.name == MEASURE)
        assert isinstance(stock, Apart)
        return stock.ties(audio)


def earlier(path: Path | None, document: dict[str, Any]) -> list[dict[str, Any]]:
    """The files of an earlier report that still hold beside this one."""
    if path is None or not path.exists():
        return []
    before = json.loads(path.read_text())
    same = all(before.get(key) == document[key] for key in ("machine", "versions", "device"))
    return before["files"] if same else []


def recordings(corpus: Path | None, names: list[str] | None) -> list[Recording]:
    return ready(corpus, names) if corpus else made(names or DEFAULT, console)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", nargs="+", metavar="NAME", help="of the set; by default all of up to five minutes")
    parser.add_argument("--corpus", type=Path, help="a folder of recordings with RTTM beside them, not to be made here")
    parser.add_argument("--ways", type=lambda text: text.split(","), default=list(WAYS))
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--once", type=lambda text: text.split(","), default=["stock-32"])
    parser.add_argument("--device", choices=["cpu", "cuda", "mps"], default="cpu")
    parser.add_argument("--cached-from", type=float, default=600.0, metavar="SECONDS")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--turns", type=Path, help="a folder for the turns that each way found, as RTTM")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def main() -> None:
    given = arguments()
    document = report.head(report.command("tests.bench.engine"), "pyannote.metrics")
    document["device"] = _device(given.device)
    chosen = recordings(given.corpus, given.files)
    files = {row["name"]: row for row in earlier(given.out, document)}
    with ExitStack() as stack:
        runners: list[Runner] = []
        for name in given.ways:
            console.print(f"starting {name}")
            runners.append(stack.enter_context(closing(Apart(name, given.device))))
        runners += [Peer(*peer.split("=", 1)) for peer in given.peer]
        contest = Contest(runners, given)
        for recording in chosen:
            row, runs = contest.over(recording)
            files[recording.name] = row
            document |= {"files": list(files.values()), "whole": whole(list(files.values()))}
            report.write(given.out, document)  # after each file: a long bench may be stopped
            _keep(given.turns, recording.name, runs)
            _print(row)


def _device(name: str) -> str:
    if name != "cuda":
        return name
    import torch

    return f"cuda ({torch.cuda.get_device_name()})"


def _keep(folder: Path | None, name: str, runs: dict[str, list[Run]]) -> None:
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for way, each in runs.items():
        (folder / f"{name}.{way}.rttm").write_text(to_rttm(each[0].turns, name))


def _print(row: dict[str, Any]) -> None:
    print(f"{row['name']}: {row['seconds']:.0f} s, {row['speakers']} speakers")
    for name, way in row["ways"].items():
        speed = way.get("times_as_fast")
        ratio = "{median:6.2f} x ({low:.2f} to {high:.2f})".format(**speed) if speed else ""
        print(
            f"  {name:9} {way['of_real_time']:8.4f} of real time  {ratio:26}"
            f"  DER {way['der']:6.2f} / {way['der_collar']:6.2f}  {way['speakers']} speakers"
            f"  +{way['growth_mib']:.0f} MiB  {way.get('differs') or ('same' if way.get('same_as_stock') else '')}"
        )


if __name__ == "__main__":
    main()

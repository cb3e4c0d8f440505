"""Kill everything, again and again, under load; then look whether anything was lost or done twice.

    python -m tests.chaos --stack embedded --kills 200 --seed 1
    python -m tests.chaos --stack local --kills 200 --seed 61 --out chaos.json

Both stacks have two workers; the local one is Apache Kafka and MinIO as plain processes (`tests/support/real.py`). Every
second kill strikes at a named point (`turnstream/points.py`). The report goes to the terminal; any breach makes the exit
code 1, is told with all that is known of its job, and keeps the folder of the run. Too few kills in the time there was make it
1, too.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tests.bench.report import command
from tests.chaos.report import figures, shortfall, stories, text
from tests.chaos.run import Going, Options, Trial, trial
from tests.chaos.schedule import Fault, schedule
from tests.chaos.stacks import Field
from tests.support.real import REASON, missing_tools

PACE = {"scripted": 4.0, "pyannote": 10.0}
"""Seconds between two faults, on average."""


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--stack", choices=("embedded", "local"), default="embedded")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=0, help="at least so many are accepted")
    parser.add_argument("--model", choices=("scripted", "real"), default="scripted")
    parser.add_argument("--delivery", choices=("auto", "at_least_once", "transactional"), default="auto")
    parser.add_argument("--pace", type=float, help="mean seconds between two faults")
    parser.add_argument("--out", type=Path, help="file for the raw report")
    parser.add_argument("--report-md", type=Path, help="file for the text")
    parser.add_argument("--keep", action="store_true", help="keep the folder of the run in any case")
    return parser.parse_args(arguments)


def run(arguments: argparse.Namespace, folder: Path, console: Console) -> Trial:
    options = Options(
        arguments.stack, arguments.seed, arguments.jobs, model=arguments.model, delivery=arguments.delivery
    )
    pace = arguments.pace or PACE[options.engine]

    def faults(field: Field) -> list[Fault]:
        return schedule(arguments.seed, arguments.kills, pace, field.ground)

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("starting the stack", total=None)
        at: list[Going] = []

        def say(line: str) -> None:
            if not at:
                return
            struck = sum(strike.struck for strike in at[0].striker.strikes)
            counts = f"{struck} faults, {at[0].accepted} jobs, {at[0].watch.marks} pending"
            progress.update(bar, description=f"{counts}: {line}", completed=struck, total=total())
            if not console.is_terminal:
                console.print(f"{counts}: {line}", highlight=False)

        def total() -> int:
            return len(faults(at[0].field))

        return asyncio.run(trial(options, folder, faults, say, at.append))


def main() -> int:
    arguments = parsed()
    console = Console(stderr=True)
    if arguments.stack == "local" and (missing := missing_tools()):
        print(f"skipped: {REASON}; missing here: {', '.join(missing)}")
        return 0
    folder = Path(tempfile.mkdtemp(prefix="turnstream-chaos-"))
    console.print(f"in {folder}", highlight=False)
    done = run(arguments, folder, console)
    options = {**vars(arguments), "out": None, "report_md": None, "engine": arguments.model}
    options["delivery"] = "transactional" if done.evidence.exactly_once else "at_least_once"
    report = figures(command("tests.chaos"), options, done.evidence, done.strikes, done.breaches, done.seen)
    told = text(report)
    print(told)
    if done.breaches:
        print(stories(done.breaches, done.evidence, done.strikes, done.field))
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    if arguments.report_md:
        arguments.report_md.write_text(f"```\n{told}\n```\n")
    if done.breaches or arguments.keep:
        print(f"everything it left: {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if done.breaches or shortfall(report) else 0


if __name__ == "__main__":
    sys.exit(main())

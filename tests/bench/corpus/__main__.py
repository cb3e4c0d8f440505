"""Make the set: `python -m tests.bench.corpus [--out DIR] [--only NAME...]`.

Without `--only`: the sample and all conversations of up to five minutes. They are kept in the cache directory (CACHE_DIR);
`--out` copies them.
"""

import argparse
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from tests.bench.corpus.debian import SourceMissing
from tests.bench.corpus.making import Recording, copy, make
from tests.bench.corpus.recipes import GATING, RECIPES, SAMPLE

DEFAULT = [SAMPLE, *(recipe.name for recipe in GATING)]


def made(names: list[str], console: Console) -> list[Recording]:
    """Those of the named recordings that can be made here; a bar shows the seconds of audio, a line what is left out."""
    recordings: list[Recording] = []
    with Progress(console=console, transient=True) as bar:
        for name in names:
            task = bar.add_task(name, total=RECIPES[name].seconds if name in RECIPES else 30)
            try:
                recordings.append(make(name, lambda seconds, task=task: bar.update(task, completed=seconds)))
            except SourceMissing as error:
                console.print(f"{name} is left out: {error}")
            bar.remove_task(task)
    return recordings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="copy the recordings to this folder")
    parser.add_argument("--only", nargs="+", default=DEFAULT, choices=[SAMPLE, *RECIPES], metavar="NAME")
    arguments = parser.parse_args()
    for recording in made(arguments.only, Console(stderr=True)):
        if arguments.out:
            copy(recording, arguments.out)
        print(f"{recording.name}\t{recording.audio}")


if __name__ == "__main__":
    main()

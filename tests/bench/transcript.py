"""How long it takes to give words their speakers: `python -m tests.bench.transcript [--out FILE]`."""

import argparse
import json
import random
import statistics
import time
from pathlib import Path

from processor.engines.transcript import combine
from tests.bench import report
from tests.support.results import segment, stages, turn, word

WORDS, TURNS, ROUNDS = 10_000, 5_000, 15


def recording(speakers: int, *long: tuple[float, float]) -> dict[str, dict]:
    """Some seconds a turn, three in four of which overlap the next one, beside `long` turns of a speaker of their own."""
    chance = random.Random(0)  # noqa: S311
    seconds = WORDS * 0.35
    starts = [index * seconds / TURNS for index in range(TURNS)]
    turns = [
        turn(f"SPEAKER_{chance.randrange(speakers):02}", start, start + chance.uniform(0.4, 2.0)) for start in starts
    ]
    exclusive = [turn(one["speaker"], one["start"], one["start"] + seconds / TURNS) for one in turns]
    turns += [turn(f"LONG_{index:02}", start, end) for index, (start, end) in enumerate(long)]
    words = [word(" word", index * 0.35, index * 0.35 + 0.3) for index in range(WORDS)]
    return stages([segment(*words[at : at + 12]) for at in range(0, WORDS, 12)], turns, exclusive)


def median_ms(given: dict[str, dict]) -> float:
    spent = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        combine(given)
        spent.append((time.perf_counter() - start) * 1000)
    return round(statistics.median(spent), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    out = parser.parse_args().out
    whole = (0.0, WORDS * 0.35)
    figures = {
        **report.head("python -m tests.bench.transcript"),
        "words": WORDS,
        "turns": TURNS,
        "rounds": ROUNDS,
        "median_ms": {
            "4 speakers": median_ms(recording(4)),
            "100 speakers": median_ms(recording(100)),
            "and one turn over everything": median_ms(recording(4, whole)),
            "and 20 turns over everything": median_ms(recording(4, *[whole] * 20)),
        },
    }
    print(json.dumps(figures, indent=2))
    report.write(out, figures)


if __name__ == "__main__":
    main()

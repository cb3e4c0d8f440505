"""The scheduler against arrival order, micro-batches and the best that knows the future: `make bench-scheduler`.

Replays patterns of arrival under a simulated clock (scheduling/), prints a table, writes scheduler.json and scheduler.svg,
and exits with 1 where a target is missed:

- our total time is within 10 % of the best on every pattern;
- no model's queue waits longer for it than MAX_WAIT, a step and a load;
- on the uniform mix we swap at least ten times less than arrival order.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tests.bench.scheduling.optimum import lower_bound
from tests.bench.scheduling.patterns import Pattern, patterns
from tests.bench.scheduling.plot import to_svg
from tests.bench.scheduling.simulation import CAPACITY, Outcome, arrival_order, micro_batches, sticky
from turnstream.settings import Settings

DEFAULTS = {name: field.default for name, field in Settings.model_fields.items()}
MAX_WAIT, MAX_RUN, LINGER = 1000 * DEFAULTS["max_wait"], DEFAULTS["max_run"], 1000 * DEFAULTS["linger"]
OURS = "ours"
SCHEDULES = {
    "arrival order": arrival_order,
    "batches of 16": micro_batches(16),
    "batches of 64": micro_batches(64),
    OURS: sticky(MAX_WAIT, MAX_RUN, LINGER),
}
DOCS = Path(__file__).parents[2] / "docs" / "benchmarks"


def late(pattern: Pattern, outcome: Outcome) -> int:
    """By how many milliseconds the worst wait for a model passes MAX_WAIT, a step and a load."""
    waits = (waited - MAX_WAIT - pattern.step - pattern.loads[model] for model, waited in outcome.away)
    return max(0, *waits, 0)


def figures(pattern: Pattern, outcome: Outcome, best: int) -> dict[str, Any]:
    waits = sorted(outcome.waits)
    return {
        "swaps": outcome.swaps,
        "total_s": outcome.total / 1000,
        "wait_p50_s": waits[len(waits) // 2] / 1000,
        "wait_p95_s": waits[int(len(waits) * 0.95)] / 1000,
        "wait_max_s": waits[-1] / 1000,
        "longest_wait_for_a_model_s": max((waited for _, waited in outcome.away), default=0) / 1000,
        "late_s": late(pattern, outcome) / 1000,
        "total_over_best": round(outcome.total / best, 3),
    }


def measure(pattern: Pattern) -> tuple[dict[str, Any], dict[str, Outcome]]:
    outcomes = {name: serve(pattern) for name, serve in SCHEDULES.items()}
    best = lower_bound(pattern, MAX_WAIT, outcomes[OURS].total)
    return {
        "jobs": len(pattern.arrivals),
        "work_s": pattern.work / 1000,
        "last_arrival_s": pattern.arrivals[-1].at / 1000,
        "loads_s": {model: load / 1000 for model, load in pattern.loads.items()},
        "step_s": pattern.step / 1000,
        "best_s": best / 1000,
        "schedules": {name: figures(pattern, outcome, best) for name, outcome in outcomes.items()},
    }, outcomes


def missed(name: str, found: dict[str, Any]) -> list[str]:
    """The targets that are missed."""
    ours, plain = found["schedules"][OURS], found["schedules"]["arrival order"]
    checks = {
        f"takes {ours['total_over_best']} times as long as the best, more than 1.1": ours["total_over_best"] <= 1.1,
        f"a queue waits {ours['late_s']} s too long for its model": ours["late_s"] == 0,
        f"{ours['swaps']} swaps, not ten times fewer than {plain['swaps']}": "uniform" not in name
        or ours["swaps"] * 10 <= plain["swaps"],
    }
    return [f"{name}: {text}" for text, holds in checks.items() if not holds]


def show(name: str, found: dict[str, Any]) -> None:
    print(f"\n{name}: {found['jobs']} jobs, {found['work_s']:g} s of work; the best takes {found['best_s']:.1f} s")
    print(f"  {'':14}{'swaps':>6}{'total':>9}{'/ best':>8}{'wait p50':>10}{'p95':>8}{'max':>8}{'for a model':>13}")
    for schedule, row in found["schedules"].items():
        print(
            f"  {schedule:14}{row['swaps']:6}{row['total_s']:8.1f}s{row['total_over_best']:8.2f}{row['wait_p50_s']:9.1f}s"
            f"{row['wait_p95_s']:7.1f}s{row['wait_max_s']:7.1f}s{row['longest_wait_for_a_model_s']:12.1f}s"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=DOCS, help="folder for scheduler.json and scheduler.svg")
    out = parser.parse_args().out
    raw, pictures, misses = {}, [], []
    for pattern in patterns():
        raw[pattern.name], outcomes = measure(pattern)
        show(pattern.name, raw[pattern.name])
        misses += missed(pattern.name, raw[pattern.name])
        pictures.append((pattern, outcomes, round(raw[pattern.name]["best_s"] * 1000)))
    settings = {"max_wait_s": MAX_WAIT / 1000, "max_run": MAX_RUN, "linger_s": LINGER / 1000, "capacity": CAPACITY}
    out.mkdir(parents=True, exist_ok=True)
    (out / "scheduler.json").write_text(json.dumps({"settings": settings, "patterns": raw}, indent=2) + "\n")
    (out / "scheduler.svg").write_text(to_svg(pictures))
    print("\n" + "\n".join(misses or ["every target is met"]))
    return 1 if misses else 0


if __name__ == "__main__":
    sys.exit(main())

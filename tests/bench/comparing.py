"""From runs over one recording to what is told of them."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tests.bench.corpus.reference import Spoken
from tests.bench.der import Errors, difference, errors
from tests.bench.ways import Run

MEASURE = "stock-1"
"""What all others are compared with."""
COLLAR = 0.25

Ties = Callable[[], Sequence[float]]


def compared(
    runs: Mapping[str, Sequence[Run]], reference: Sequence[Spoken], seconds: float, ties: Ties
) -> dict[str, Any]:
    """A row for each way. `ties` is asked for only where turns differ from those of MEASURE."""
    stock = runs.get(MEASURE)
    return {
        name: {
            **_cost(each, seconds),
            **_answer(each, reference, seconds),
            **(_against(each, stock, seconds, ties) if stock and name != MEASURE else {}),
        }
        for name, each in runs.items()
    }


def _cost(runs: Sequence[Run], seconds: float) -> dict[str, Any]:
    spent = [run.seconds for run in runs]
    return {
        "seconds": spent,
        "of_real_time": round(statistics.median(spent) / seconds, 5),
        "growth_mib": round(max(run.growth for run in runs), 1),
        "resident_mib": round(max(run.resident for run in runs), 1),
        "cuda_mib": round(max(run.cuda for run in runs), 1),
        "told": runs[-1].told,
    }


def _answer(runs: Sequence[Run], reference: Sequence[Spoken], seconds: float) -> dict[str, Any]:
    turns = runs[0].turns
    found = errors(reference, turns, seconds)
    forgiving = errors(reference, turns, seconds, COLLAR)
    return {
        "speakers": len({turn.speaker for turn in turns}),
        "der": round(found.rate, 3),
        "der_collar": round(forgiving.rate, 3),
        "errors": _rounded(found),
        "errors_collar": _rounded(forgiving),
        "same_each_time": all(run.turns == turns for run in runs),
    }


def _against(runs: Sequence[Run], stock: Sequence[Run], seconds: float, ties: Ties) -> dict[str, Any]:
    ratios = [base.seconds / run.seconds for base, run in zip(stock, runs, strict=False)]
    told: dict[str, Any] = {
        "times_as_fast": {
            "median": round(statistics.median(ratios), 3),
            "low": round(min(ratios), 3),
            "high": round(max(ratios), 3),
        },
        "same_as_stock": runs[0].turns == stock[0].turns,
    }
    if not told["same_as_stock"]:
        told["der_against_stock"] = round(errors(stock[0].turns, runs[0].turns, seconds).rate, 4)
        told["differs"] = asdict(difference(runs[0].turns, stock[0].turns, seconds, ties()))
    return told


def _rounded(found: Errors) -> dict[str, float]:
    return {name: round(value, 3) for name, value in asdict(found).items()}


def whole(files: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each way over all files that every way was run over: DER of their sum, speakers counted right, worst against stock."""
    names = list(dict.fromkeys(name for file in files for name in file["ways"]))
    shared = [file for file in files if all(name in file["ways"] for name in names)]
    told: dict[str, Any] = {}
    for name in names:
        rows = [file["ways"][name] for file in shared]
        told[name] = {
            "files": len(rows),
            "der": round(sum((Errors(**row["errors"]) for row in rows), Errors()).rate, 3),
            "der_collar": round(sum((Errors(**row["errors_collar"]) for row in rows), Errors()).rate, 3),
            "speakers_right": sum(row["speakers"] == file["speakers"] for row, file in zip(rows, shared, strict=True)),
            "same_as_stock": sum(row.get("same_as_stock", True) for row in rows),
            "worst_der_over_stock": round(
                max((file["ways"][name]["der"] - file["ways"][MEASURE]["der"] for file in shared), default=0.0), 3
            )
            if MEASURE in names
            else None,
        }
    return told

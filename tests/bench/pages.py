"""The page and pictures of the engine's bench, made from its raw reports: `python -m tests.bench.pages`.

docs/benchmarks/engine.md is written by hand but for what stands between `<!-- NAME -->` and `<!-- /NAME -->`: that is made
anew from the reports beside it (PARTS), so that page and raw output agree.
"""

import json
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.comparing import MEASURE, whole
from tests.bench.plots import speed_and_accuracy, time_and_memory, title

DOCS = Path(__file__).parents[2] / "docs" / "benchmarks"
PAGE = "engine.md"
NOT_YET = "Not yet measured."

Report = Mapping[str, Any]


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def made_on(report: Report) -> str:
    machine = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    return (
        f"`{report['command']}`, {report['date'][:10]}, {machine['processor']}, {machine['cpus']} cores, "
        f"{machine['memory_gib']:g} GiB, Python {machine['python']}, {versions}; load average at the start "
        f"{report['load_average'][0]:g}."
    )


# From engine.json


def speeds(report: Report) -> str:
    """How many times as fast as stock 1/1, by file."""
    ways = [way for way in _ways(report) if way != MEASURE]
    heads = ["file", "length", "stock 1/1", *(title(way) for way in ways)]
    rows = [
        [
            file["name"],
            _length(file["seconds"]),
            _stock_time(file),
            *(_speed(file["ways"].get(way)) for way in ways),
        ]
        for file in report["files"]
    ]
    note = "Times as fast as stock 1/1: the median of the pairs, and their spread."
    if len({file.get("code") for file in report["files"]}) > 1:
        note += " Not all files were measured with the same state of the engine: the raw report tells which."
    if any(way.get("cached") for file in report["files"] for way in file["ways"].values()):
        note += " *: stock's run was kept from an earlier bench on the same machine."
    return f"{made_on(report)}\n\n{table(heads, rows)}\n\n{note}"


def _stock_time(file: Report) -> str:
    stock = file["ways"].get(MEASURE)
    return f"{statistics.median(stock['seconds']):.1f} s{'*' if stock['cached'] else ''}" if stock else "-"


def _speed(way: Report | None) -> str:
    if way is None or "times_as_fast" not in way:
        return "-"
    speed = way["times_as_fast"]
    spread = f" ({speed['low']:.2f} to {speed['high']:.2f})" if len(way["seconds"]) > 1 else ""
    return f"{speed['median']:.2f}{spread}{'*' if way['cached'] else ''}"


def accuracy(report: Report) -> str:
    """Errors, speakers, and what differs from stock."""
    ways = _ways(report)
    rows: list[list[object]] = []
    for file in report["files"]:
        rows.append(
            [
                file["name"],
                file["speakers"],
                *(_errors(file["ways"].get(way)) for way in ways),
                *(_same(file["ways"].get(way)) for way in ways if way != MEASURE),
            ]
        )
    total = report["whole"]
    rows.append(
        [
            "**all**",
            "",
            *(f"{total[way]['der']:.2f} / {total[way]['der_collar']:.2f}" for way in ways),
            *(f"{total[way]['same_as_stock']} of {total[way]['files']}" for way in ways if way != MEASURE),
        ]
    )
    heads = ["file", "speakers", *map(title, ways), *(f"{title(way)}: as stock" for way in ways if way != MEASURE)]
    return table(heads, rows)


def _errors(way: Report | None) -> str:
    return f"{way['der']:.2f} / {way['der_collar']:.2f}, {way['speakers']}" if way else "-"


def _same(way: Report | None) -> str:
    if way is None or "same_as_stock" not in way:
        return "-"
    if way["same_as_stock"]:
        return "yes"
    return f"{way['differs']['frames']} frames, {way['differs']['near_ties']} near-ties"


def memory(report: Report) -> str:
    ways = _ways(report)
    cuda = any(way["cuda_mib"] for file in report["files"] for way in file["ways"].values())

    def cell(way: Report | None) -> str:
        if way is None:
            return "-"
        return f"{way['growth_mib']:.0f}" + (f" and {way['cuda_mib']:.0f}" if cuda else "")

    rows = [[file["name"], *(cell(file["ways"].get(way)) for way in ways)] for file in report["files"]]
    unit = "Peak of resident memory beyond the loaded and warm model, MiB"
    return f"{unit}{', and the peak that torch allocated on the device' if cuda else ''}.\n\n" + table(
        ["file", *map(title, ways)], rows
    )


def _ways(report: Report) -> list[str]:
    return list(dict.fromkeys(way for file in report["files"] for way in file["ways"]))


def _length(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


# From the others


def lengths(report: Report) -> str:
    rows = [
        [
            mode,
            run["name"],
            f"{run['networks_s_an_hour']:.0f} s",
            f"{run['clustering_s']:.1f} s",
            f"{run['decode_s']:.1f} s",
            f"{run['anonymous_growth_mib']:.0f} MiB",
            f"{run['growth_mib']:.0f} MiB",
            f"{run['spool_mib']:.0f} MiB",
        ]
        for mode, told in report["modes"].items()
        for run in told["runs"]
    ]
    heads = [
        "mode",
        "file",
        "networks, an hour of audio",
        "clustering",
        "decoding",
        "memory",
        "with mapped files",
        "audio",
    ]
    ends: list[str] = []
    for mode, told in report["modes"].items():
        found = told["longest_against_shortest"]
        ends.append(
            f"{mode}: the longest takes {found['memory_mib']:.0f} MiB more than the shortest (limit "
            f"{found['memory_limit_mib']:.0f}) and {found['seconds_an_hour']:.2f} times its seconds an hour "
            f"(limit {found['seconds_an_hour_limit']:.2f})."
        )
    return f"{made_on(report)}\n\n{table(heads, rows)}\n\n" + "\n".join(ends)


def hour(report: Report) -> str:
    """Of seconds that the processor worked; how many passed says nothing, since it ran beside other work."""
    runs: Report = report["runs"]
    stock = runs.get(MEASURE)
    rows = [
        [
            title(way),
            f"{run['processor_seconds']:.0f} s",
            f"{stock['processor_seconds'] / run['processor_seconds']:.2f}" if stock else "-",
            _errors(run | {"speakers": len({speaker for speaker, *_ in run["turns"]})}),
            ("yes" if run["turns"] == stock["turns"] else "no") if stock else "-",
        ]
        for way, run in runs.items()
    ]
    heads = ["way", "processor time", "stock's over it", "errors in percent, speakers", "turns as stock"]
    return f"{made_on(report)}\n\n{table(heads, rows)}"


def again(report: Report) -> str:
    """Further runs of a recording, from what was kept of the first, and a run of it anew."""
    last, same = list(report["further"])[-1], "yes" if report["same_as_anew"] else "no"
    runs = [("first run", report["first"], "-")]
    runs += [(f"again, {number} speakers asked for", told, "-") for number, told in report["further"].items()]
    runs.append((f"anew, {last} speakers asked for", report["anew"], same))
    rows = [[name, f"{told['seconds']:.2f} s", told["speakers"], told["turns"], equal] for name, told, equal in runs]
    heads = ["run", "seconds", "speakers", "turns", "turns as those of the run before"]
    return f"{made_on(report)}\n\n{table(heads, rows)}"


def profile(report: Report) -> str:
    stages = ("segmentation", "embedding", "clustering", "rest", "total")
    floor = report["floor"]
    rows: list[list[object]] = [
        [mode, *(f"{told[stage]:.2f} s" for stage in stages), f"{told['over_floor']:.2f}"]
        for mode, told in report["modes"].items()
    ]
    once = {name: told["seconds"] for name, told in floor.items()}
    rows.append(
        [
            "one pass of each network",
            *(f"{once[name]:.2f} s" for name in once),
            "",
            "",
            f"{sum(once.values()):.2f} s",
            "1",
        ]
    )
    work = [
        [name, f"{told['gmac']:.0f}", f"{told['gmac_a_second']:.0f}", f"{100 * told['of_product']:.0f} %"]
        for name, told in floor.items()
    ]
    return (
        f"{made_on(report)} {report['file']}, {report['seconds']:.0f} s.\n\n"
        + table(["", *stages, "times the floor"], rows)
        + "\n\n"
        + table(
            ["one pass of", "GMAC", "GMAC/s", f"of a large product ({report['product_gmac_a_second']:.0f} GMAC/s)"],
            work,
        )
    )


def together(report: Report) -> str:
    ratios = [pair["ratio"] for pair in report["pairs"]]
    same = all(pair["segments_identical"] for pair in report["pairs"])
    return (
        f"{made_on(report)} {report['files']} files of {report['seconds_each']:g} s opened together: "
        f"{1 / report['median_ratio']:.2f} times the throughput of one by one (median of {len(ratios)} pairs, "
        f"{1 / max(ratios):.2f} to {1 / min(ratios):.2f}), segments {'identical' if same else 'NOT identical'}."
    )


PARTS: dict[str, tuple[str, Callable[[Report], str]]] = {
    "speeds": ("engine.json", speeds),
    "accuracy": ("engine.json", accuracy),
    "memory": ("engine.json", memory),
    "speeds on a GPU": ("engine-cuda.json", speeds),
    "accuracy on a GPU": ("engine-cuda.json", accuracy),
    "memory on a GPU": ("engine-cuda.json", memory),
    "hour": ("hour.json", hour),
    "again": ("again.json", again),
    "length": ("length.json", lengths),
    "profile": ("profile.json", profile),
    "profile on a GPU": ("profile-cuda.json", profile),
    "together": ("together.json", together),
}
PICTURES = {"engine-accuracy.svg": speed_and_accuracy, "engine-length.svg": time_and_memory}


def rendered(page: str, folder: Path) -> str:
    """`page` with its parts made anew from the reports in `folder`."""
    for name, (file, make) in PARTS.items():
        path = folder / file
        text = make(json.loads(path.read_text())) if path.exists() else NOT_YET
        marked = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", re.DOTALL)
        page = marked.sub(lambda match, text=text: f"{match[1]}{text}{match[2]}", page)
    return page


def pictures(folder: Path) -> dict[str, str]:
    """By file name; none where there is no report."""
    path = folder / "engine.json"
    if not path.exists():
        return {}
    report = json.loads(path.read_text())
    report["whole"] = whole(report["files"])
    return {name: draw(report) for name, draw in PICTURES.items()}


def main() -> None:
    page = DOCS / PAGE
    page.write_text(rendered(page.read_text(), DOCS))
    for name, svg in pictures(DOCS).items():
        (DOCS / name).write_text(svg)


if __name__ == "__main__":
    main()

"""The pictures of docs/benchmarks/engine.md."""

from collections.abc import Mapping
from typing import Any

from tests.bench.charts import Chart, Series, axis, page


def speed_and_accuracy(bench: Mapping[str, Any]) -> str:
    """From the report of tests.bench.engine: each file a dot, and the mean of each way."""
    ways = _ways(bench)
    dots = {
        way: [
            (1 / file["ways"][way]["of_real_time"], file["ways"][way]["der"], file["name"])
            for file in bench["files"]
            if way in file["ways"]
        ]
        for way in ways
    }
    every = [dot for each in dots.values() for dot in each]
    x = axis("seconds of audio a second (right is better)", [dot[0] for dot in every], log=True)
    y = axis("diarization error rate, % (low is better)", [dot[1] for dot in every])
    files = [
        Series(title(way), [(a, b) for a, b, _ in each], [f"{way}: {name}" for *_, name in each], line=False)
        for way, each in dots.items()
    ]
    mean = [
        Series(title(way), [(len(each) / sum(1 / dot[0] for dot in each), bench["whole"][way]["der"])], [way])
        for way, each in dots.items()
    ]
    return page(
        [
            Chart("Each file", x, y, files),
            Chart("The whole set", x, axis(y.title, [s.points[0][1] for s in mean]), mean),
        ]
    )


def time_and_memory(bench: Mapping[str, Any]) -> str:
    """From the same report: seconds, and growth of memory, against length."""
    charts: list[Chart] = []
    for heading, what in (("Time against length", "time"), ("Memory against length", "memory")):
        lines = {way: sorted(_by_length(bench, way, what).items()) for way in _ways(bench)}
        xs = [x for points in lines.values() for x, _ in points]
        ys = [y for points in lines.values() for _, y in points]
        label = "seconds of computing" if what == "time" else "growth of resident memory, MiB"
        charts.append(
            Chart(
                heading,
                axis("seconds of audio", xs, log=True),
                axis(label, ys, log=what == "time"),
                [Series(title(way), points) for way, points in lines.items()],
            )
        )
    return page(charts)


def title(way: str) -> str:
    kind, _, batch = way.partition("-")
    return f"stock {batch}/{batch}" if kind == "stock" else way


def _by_length(bench: Mapping[str, Any], way: str, what: str) -> dict[float, float]:
    """Means over the files of one length."""
    found: dict[float, list[float]] = {}
    for file in bench["files"]:
        if row := file["ways"].get(way):
            seconds = round(file["seconds"])
            value = row["of_real_time"] * file["seconds"] if what == "time" else row["growth_mib"]
            found.setdefault(float(seconds), []).append(value)
    return {seconds: sum(values) / len(values) for seconds, values in found.items()}


def _ways(bench: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(way for file in bench["files"] for way in file["ways"]))

"""The page of the engine's bench says what the raw reports say."""

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from tests.bench import pages
from tests.bench.charts import Chart, Series, axis, page

HEAD = {
    "command": "python -m tests.bench.some",
    "date": "2026-11-23T00:00:00+00:00",
    "machine": {"processor": "P", "cpus": 2, "memory_gib": 8.0, "python": "3.11"},
    "versions": {"torch": "2"},
    "load_average": [0.5],
}
"""Of every report."""


def test_the_page_is_made_from_the_reports_beside_it() -> None:
    text = (pages.DOCS / pages.PAGE).read_text()
    assert pages.rendered(text, pages.DOCS) == text


def test_the_page_has_a_place_for_every_part() -> None:
    text = (pages.DOCS / pages.PAGE).read_text()
    for name in pages.PARTS:
        assert text.count(f"<!-- {name} -->") == text.count(f"<!-- /{name} -->") == 1


def test_the_pictures_are_made_from_the_report_beside_them() -> None:
    for name, svg in pages.pictures(pages.DOCS).items():
        assert (pages.DOCS / name).read_text() == svg


@pytest.mark.parametrize("log", [True, False])
def test_a_chart_holds_its_points_and_readable_ticks(log: bool) -> None:
    points = [(30.0, 4.0), (300.0, 40.0), (3600.0, 480.0)]
    x, y = (
        axis("seconds <of audio>", [a for a, _ in points], log=True),
        axis("seconds", [b for _, b in points], log=log),
    )
    root = ET.fromstring(page([Chart("Time & length", x, y, [Series("exact", points)])]))  # noqa: S314
    tags = [element.tag.rpartition("}")[2] for element in root.iter()]
    assert tags.count("circle") == 1 + len(points)
    for value, scale in ((30.0, x), (3600.0, x), (480.0, y)):
        assert 0 <= scale.place(value) <= 1
    assert len(x.ticks()) >= 3
    assert len(y.ticks()) >= 3


def test_an_hour_is_compared_by_the_time_of_the_processor() -> None:
    report: dict[str, Any] = {
        **HEAD,
        "runs": {
            "stock-1": {"processor_seconds": 3000.0, "turns": [["a", 0, 1]], "der": 10.0, "der_collar": 1.25},
            "exact": {"processor_seconds": 600.0, "turns": [["a", 0, 1]], "der": 10.0, "der_collar": 1.25},
            "fast": {"processor_seconds": 200.0, "turns": [["a", 0, 1], ["b", 1, 2]], "der": 9.5, "der_collar": 1.5},
        },
    }
    rows = [line for line in pages.hour(report).splitlines() if line.startswith("|")][2:]
    assert rows == [
        "| stock 1/1 | 3000 s | 1.00 | 10.00 / 1.25, 1 | yes |",
        "| exact | 600 s | 5.00 | 10.00 / 1.25, 1 | yes |",
        "| fast | 200 s | 15.00 | 9.50 / 1.50, 2 | no |",
    ]
    del report["runs"]["stock-1"]
    assert "| exact | 600 s | - | 10.00 / 1.25, 1 | - |" in pages.hour(report)


def test_further_runs_stand_beside_the_first_and_one_anew() -> None:
    def told(seconds: float, speakers: int) -> dict[str, object]:
        return {"seconds": seconds, "speakers": speakers, "turns": 7}

    report: dict[str, Any] = {
        **HEAD,
        "first": told(600, 5),
        "further": {"3": told(1.5, 3), "4": told(1.25, 4)},
        "anew": told(590, 4),
        "same_as_anew": True,
    }
    rows = [line for line in pages.again(report).splitlines() if line.startswith("|")][2:]
    assert rows == [
        "| first run | 600.00 s | 5 | 7 | - |",
        "| again, 3 speakers asked for | 1.50 s | 3 | 7 | - |",
        "| again, 4 speakers asked for | 1.25 s | 4 | 7 | - |",
        "| anew, 4 speakers asked for | 590.00 s | 4 | 7 | yes |",
    ]
    assert "| no |" in pages.again(report | {"same_as_anew": False})

"""What a process exports, and what docs/metrics.md says it does."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
PROCESS = "process_"
"""How the names begin that prometheus_client's collector of the process itself gives: they differ from system to system."""


class Described(NamedTuple):
    name: str
    type: str
    labels: frozenset[str]
    meaning: str


def samples(text: str) -> dict[str, float]:
    """Sample -> value, such as `turnstream_jobs_open{operation=diarize}`."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def exported(families: Iterable[Metric]) -> list[Described]:
    """Less those of the process itself. Labels are known only of what was counted."""
    return [
        Described(
            f"{family.name}_total" if family.type == "counter" else family.name,
            family.type,
            frozenset(label for sample in family.samples for label in sample.labels) - {"le"},
            family.documentation,
        )
        for family in families
        if not family.name.startswith(PROCESS)
    ]


def documented(heading: str) -> list[Described]:
    """The table below a heading of the page."""
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([\w, ]*?) ?\| (.+) \|$", section, re.MULTILINE)
    return [
        Described(name, type_, frozenset(labels.split(", ") if labels else ()), meaning)
        for name, type_, labels, meaning in rows
    ]

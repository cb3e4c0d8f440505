"""deploy/alerts.yml: its rules ask for what is exported, and for labels and codes that there are."""

import re
from pathlib import Path

import pytest
import yaml

from schemas.errors import error_classes
from tests.support.metrics import documented

PAGE = Path(__file__).parents[2] / "deploy" / "alerts.yml"
RULES = [rule for group in yaml.safe_load(PAGE.read_text())["groups"] for rule in group["rules"]]
METRICS = {each.name: each for heading in ("Of a worker", "Of the API") for each in documented(heading)}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_asks_for_what_is_exported(rule: dict):
    names = re.findall(r"turnstream_\w+", rule["expr"])
    assert names
    assert set(names) <= METRICS.keys()
    for name, selector in re.findall(r"(turnstream_\w+)\{([^}]*)\}", rule["expr"]):
        assert set(re.findall(r"(\w+)[=!]", selector)) <= METRICS[name].labels
    grouped = {label for labels in re.findall(r"by \(([\w, ]+)\)", rule["expr"]) for label in labels.split(", ")}
    assert grouped - {"instance"} <= set().union(*(METRICS[name].labels for name in names))
    assert set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))) <= grouped


def test_rules_say_what_is_wrong_and_what_to_do():
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"].keys() == {"summary", "description"}


def test_codes_in_rules_are_those_of_the_tree():
    codes = {cls.code for cls in error_classes()}
    assert set(re.findall(r'code="(\w+)"', PAGE.read_text())) <= codes
    assert any(code.startswith("audio_") for code in codes)

"""docs/faults.md: what it says is tested has a test of that name, and what it points to is there."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "faults.md"
TEXT = PAGE.read_text()
SCENARIOS = TEXT.partition("## Scenarios")[2]
NAMED = sorted(set(re.findall(r"`((?:unit|contract|e2e|chaos)/[\w/]+\.py)::(\w+)`", SCENARIOS)))


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[f"{file}::{name}" for file, name in NAMED])
def test_each_test_that_is_named_exists(file: str, name: str):
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    tree = ast.parse((TESTS / file).read_text())
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, functions)}


def test_each_scenario_names_a_test_or_says_why_there_is_none():
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", SCENARIOS, re.MULTILINE)[1:]
    assert len(rows) > 20
    assert [
        scenario for scenario, told in rows if "::test_" not in told and not re.match("no test|not in the gate", told)
    ] == []


def test_what_it_links_to_is_there():
    links = set(re.findall(r"\]\(([^)#]+)", TEXT))
    assert links
    assert {link for link in links if not (PAGE.parent / link).exists()} == set()

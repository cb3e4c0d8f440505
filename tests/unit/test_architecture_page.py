"""docs/architecture.md and its picture name the topics and objects that there are."""

import re
from pathlib import Path
from xml.etree import ElementTree

from schemas.topics import Topic
from turnstream import records

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "architecture.md").read_text()
PICTURE = ElementTree.parse(DOCS / "architecture.svg").getroot()  # noqa: S314 - our own
TOPICS = set(Topic)
MONO = {text.text or "" for text in PICTURE.iter("{http://www.w3.org/2000/svg}text") if text.get("class") == "mono"}


def test_the_page_has_every_topic():
    [table] = re.findall(r"^\| topic \| .*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`([^`]+)`", table)) == TOPICS


def test_the_objects_of_the_page_are_those_of_the_records():
    [table] = re.findall(r"^\| key \| .*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    keys = {key for key in re.findall(r"`([^`]+)`", table) if "/" in key}
    assert keys
    assert {key for key in keys if f" {key} " not in (records.__doc__ or "")} == set()


def test_the_picture_shows_what_there_is():
    shown = {name for text in MONO for name in text.split(", ")}
    assert {name for name in shown if "/" not in name} - {"audio", "error.json"} == TOPICS
    told = records.__doc__ or ""
    for key in (name.removesuffix("...") for name in shown if "/" in name):
        assert key.replace("result.json", "{result") in told, key


def test_each_step_of_the_way_is_in_the_picture():
    steps = {int(number) for number in re.findall(r"^(\d)\. (?!\*\*)", PAGE, re.MULTILINE)}
    numbers = {
        int(text.text or 0)
        for text in PICTURE.iter("{http://www.w3.org/2000/svg}text")
        if text.get("class") == "number"
    }
    assert numbers == steps

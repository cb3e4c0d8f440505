"""docs/diarization.md names what there is: parameters, fields, warnings and settings, with their defaults."""

import json
import re
from enum import Enum
from pathlib import Path

from pydantic import BaseModel

from schemas.jobs import DiarizeParams
from schemas.results import DiarizationResult, Segment, SpeakerStats
from turnstream.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "diarization.md").read_text()


def section(title: str) -> str:
    """From a heading to the next one."""
    [text] = re.findall(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return text


def rows(text: str) -> dict[str, list[str]]:
    """By each of the names in the first column of the tables, the other columns."""
    found = {}
    for line in re.findall(r"^\| (`.*) \|$", text, re.MULTILINE):
        first, *others = line.split(" | ")
        found |= dict.fromkeys(re.findall(r"`([^`]+)`", first), others)
    return found


def written(value: object) -> str:
    """As people write it in a form or an environment."""
    if isinstance(value, Enum):
        return value.value
    return json.dumps(value).removesuffix(".0").strip('"')


def test_every_parameter_with_its_default():
    table = rows(section("Asking"))
    assert table.keys() == DiarizeParams.model_fields.keys()
    for name, field in DiarizeParams.model_fields.items():
        said = table[name][0]
        assert (said == f"`{written(field.default)}`") is (field.default is not None), name


def test_every_field_of_a_result():
    models: tuple[type[BaseModel], ...] = (DiarizationResult, Segment, SpeakerStats)
    fields = {name for model in models for name in model.model_fields}
    told = rows(section("The result")).keys() | set(re.findall(r"`(\w+)`", section("The result")))
    assert fields <= told
    assert rows(section("The result")).keys() <= fields


def test_every_setting_with_its_default():
    for name, (default, _) in rows(section("Settings")).items():
        assert default == f"`{written(Settings.model_fields[name.lower()].default)}`", name
    assert {"DIARIZATION_MODE", "KEEP_ANALYSIS", "TF32"} <= rows(section("Settings")).keys()

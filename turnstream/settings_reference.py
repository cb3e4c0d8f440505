"""What settings there are, for people: the class itself told as a page.

python -m turnstream.settings_reference > docs/settings.md
"""

import inspect
import re
from dataclasses import dataclass
from enum import Enum
from types import UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from turnstream.settings import GiB, MiB, Settings

INTRODUCTION = """\
# Settings

<!-- Generated: python -m turnstream.settings_reference > docs/settings.md -->

Settings are read from the environment, or from a file `.env` in the folder in which a process is started; the environment
goes first. An empty value is as good as none: the default holds. A value that is out of its range stops the process, with a
line that names the setting. The same settings hold for the API, the workers and the command line. Times are in seconds,
sizes in bytes.
"""


@dataclass(frozen=True)
class Setting:
    name: str
    """As in the environment."""
    default: str
    """As in the environment; empty where there is none."""
    range: str
    """The choices there are, or the bounds of a number; empty where anything goes."""
    sentence: str
    secret: bool


def groups() -> dict[str, list[Setting]]:
    """By their headings, which are the comments in the class, in its order."""
    found: dict[str, list[Setting]] = {}
    heading = ""
    for line in inspect.getsource(Settings).splitlines():
        if title := re.fullmatch(r" {4}# (\S.*)", line):
            heading = title[1]
        elif (field := re.match(r" {4}(\w+):", line)) and field[1] in Settings.model_fields:
            found.setdefault(heading, []).append(_setting(field[1], Settings.model_fields[field[1]]))
    return found


def _setting(name: str, field: FieldInfo) -> Setting:
    kind = field.annotation
    secret = SecretStr in (kind, *get_args(kind))
    return Setting(name.upper(), written(field.get_default()), _range(field), field.description or "", secret)


def written(value: Any) -> str:
    """A value as people write it into an environment variable."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return ",".join(map(written, cast("tuple[Any, ...]", value)))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else str(value)


def _range(field: FieldInfo) -> str:
    choices = _choices(field.annotation)
    if choices:
        return ", ".join(choices)
    low = next((bound for bound in field.metadata if isinstance(bound, Ge | Gt)), None)
    high = next((bound for bound in field.metadata if isinstance(bound, Le | Lt)), None)
    least = "" if low is None else str(low.ge) if isinstance(low, Ge) else f"more than {low.gt}"
    most = "" if high is None else str(high.le) if isinstance(high, Le) else f"less than {high.lt}"
    if least and most:
        return f"{least} to {most}"
    return f"at least {least}" if isinstance(low, Ge) else least or (f"at most {most}" if most else "")


def _choices(kind: Any) -> list[str]:
    if get_origin(kind) is Literal:
        return [str(value) for value in get_args(kind)]
    if get_origin(kind) in (Union, UnionType):
        return [choice for each in get_args(kind) for choice in _choices(each)]
    if kind is bool:
        return ["true", "false"]
    return [str(member.value) for member in kind] if isinstance(kind, type) and issubclass(kind, Enum) else []


def page() -> str:
    lines = [INTRODUCTION]
    for heading, settings in groups().items():
        lines += [f"## {heading}\n", "| setting | default | range | |", "|---|---|---|---|"]
        lines += [
            f"| `{each.name}` | {_shown(each.default)} | {each.range or '-'} | {each.sentence} |" for each in settings
        ]
        lines.append("")
    return "\n".join(lines)


def _shown(default: str) -> str:
    if not default:
        return "-"
    for unit, size in (("GiB", GiB), ("MiB", MiB)):
        if default.isdigit() and int(default) >= size and int(default) % size == 0:
            return f"`{default}` ({int(default) // size} {unit})"
    return f"`{default}`"


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201 - this is the page

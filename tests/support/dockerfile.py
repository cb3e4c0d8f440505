"""deploy/Dockerfile as far as the tests want to know it: its stages, with what they inherit."""

import json
import re
import shlex
from dataclasses import dataclass, field
from functools import cache

from tests.support.compose_file import ROOT

FILE = ROOT / "deploy" / "Dockerfile"


@dataclass
class Stage:
    base: str
    environment: dict[str, str] = field(default_factory=dict)
    user: str = "0"
    workdir: str = "/"
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    instructions: list[tuple[str, str]] = field(default_factory=list)
    """Its own, not those inherited."""


def stage(name: str) -> Stage:
    return stages()[name]


@cache
def stages() -> dict[str, Stage]:
    found: dict[str, Stage] = {}
    current = Stage("")
    for keyword, rest in instructions():
        if keyword == "FROM":
            base, _, name = rest.split()
            parent = found.get(base, Stage(base))
            current = Stage(base, dict(parent.environment), parent.user, parent.workdir, parent.command, parent.health)
            found[name] = current
            continue
        current.instructions.append((keyword, rest))
        match keyword:
            case "ENV":
                current.environment |= dict(pair.split("=", 1) for pair in shlex.split(rest))
            case "USER":
                current.user = rest
            case "WORKDIR":
                current.workdir = rest
            case "CMD":
                current.command = json.loads(rest)
            case "HEALTHCHECK":
                current.health = json.loads(rest.partition("CMD ")[2])
    return found


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", FILE.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(keyword, rest.strip()) for keyword, _, rest in (line.partition(" ") for line in lines if line.strip())]

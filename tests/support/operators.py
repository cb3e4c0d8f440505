"""`docker compose exec` and `docker compose run` as docs/production.md types them, in the boxes of a stack that runs."""

import argparse
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.support.compose import Composed
from tests.support.documents import ROOT, page
from tests.support.reader import commands

CONSOLE = ["python", "-m", "turnstream"]
"""What the image's script does. That of the tests' environment, which lies where the image has its own, names another Python."""


@dataclass(frozen=True)
class Typed:
    line: str
    verb: str
    """exec or run."""
    service: str
    command: list[str]
    name: str = ""
    """Of the container that `run` makes."""
    handed: list[str] = field(default_factory=list)
    """Variables: NAME=VALUE, or a NAME of .env."""

    def environment(self, composed: Composed) -> dict[str, str]:
        pairs = (each.partition("=") for each in self.handed)
        return {name: value if equals else composed.env[name] for name, equals, value in pairs}


def typed(runner: str) -> Iterator[Typed]:
    """What the page leaves to this test, in its order."""
    for block in page(ROOT / "docs" / "production.md").blocks:
        if block.runner == runner:
            yield from map(read, commands(block.text))


def read(line: str) -> Typed:
    parser = argparse.ArgumentParser("docker compose")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("exec", "run"):
        known = verbs.add_parser(verb)
        known.add_argument("-e", "--env", action="append", default=[])
        known.add_argument("--detach", action="store_true")
        known.add_argument("--name", default="")
        known.add_argument("service")
        known.add_argument("command", nargs=argparse.REMAINDER)
    docker, compose, *words = shlex.split(line)
    assert (docker, compose) == ("docker", "compose"), line
    said = parser.parse_args(words)
    command = [*CONSOLE, *said.command[1:]] if said.command[0] == "turnstream" else said.command
    return Typed(line, said.verb, said.service, command, said.name, said.env)

"""docker-compose.yml as Compose reads it: variables put in, services in the order in which they may start."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
INIT = ROOT / "deploy" / "init.sh"
_REFERENCE = re.compile(r"\$(?:(?P<escaped>\$)|(?P<bare>[A-Za-z_]\w*)|\{(?P<name>[A-Za-z_]\w*)(?P<rest>[^\w]))")


class Missing(Exception):
    """A variable that the file requires has no value; the message is what Compose says of it."""


@dataclass(frozen=True)
class Reference:
    """A variable of the file, as one place names it."""

    name: str
    operator: str
    """`:-` before a default, `:?` before what is said if it is missing, or nothing."""
    argument: str


def tree() -> dict[str, Any]:
    """As it is written, anchors resolved."""
    return yaml.safe_load(FILE.read_text())


def env_file(path: Path) -> dict[str, str]:
    lines = (line for line in path.read_text().splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def references(value: Any) -> Iterator[Reference]:
    """All of a tree, those inside defaults included."""
    for text in _texts(value):
        for _, reference in _parts(text):
            if reference:
                yield reference
                yield from references(reference.argument)


def interpolated(value: Any, env: Mapping[str, str]) -> Any:
    """Raises Missing."""
    if isinstance(value, dict):
        return {key: interpolated(each, env) for key, each in value.items()}
    if isinstance(value, list):
        return [interpolated(each, env) for each in value]
    if not isinstance(value, str):
        return value
    return "".join(_value(reference, env) if reference else text for text, reference in _parts(value))


def _value(reference: Reference, env: Mapping[str, str]) -> str:
    if found := env.get(reference.name):
        return found
    if reference.operator == ":?":
        raise Missing(f"required variable {reference.name} is missing a value: {reference.argument}")
    return interpolated(reference.argument, env)


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return (text for each in value for text in _texts(each))
    return (value,) if isinstance(value, str) else ()


def _parts(text: str) -> Iterator[tuple[str, Reference | None]]:
    """Plain text and references, in their order."""
    at = 0
    while found := _REFERENCE.search(text, at):
        yield text[at : found.start()], None
        at = found.end()
        if found["escaped"]:
            yield "$", None
        elif found["bare"]:
            yield "", Reference(found["bare"], "", "")
        else:
            start = at if found["rest"] == "}" else found.end("rest") + 1
            at = _closing(text, found.start() + 2) + 1
            operator = text[start - 2 : start] if found["rest"] != "}" else ""
            yield "", Reference(found["name"], operator, text[start : at - 1] if operator else "")
    yield text[at:], None


def _closing(text: str, at: int) -> int:
    """Where the brace ends that was opened before `at`."""
    depth = 1
    while depth:
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        at += 1
    return at - 1


@dataclass(frozen=True)
class Service:
    name: str
    written: Mapping[str, Any]
    env: Mapping[str, str]

    @property
    def command(self) -> list[str] | None:
        """None: the image's own."""
        return self.written.get("command")

    @property
    def environment(self) -> dict[str, str]:
        """A variable without a value is handed on if there is one, and absent else."""
        named = {name: self.env.get(name) if value is None else value for name, value in self._environment.items()}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def _environment(self) -> Mapping[str, Any]:
        return self.written.get("environment", {})

    @property
    def target(self) -> str | None:
        """The stage of our Dockerfile; None for an image of others."""
        return self.written.get("build", {}).get("target")

    @property
    def health(self) -> list[str] | None:
        test = self.written.get("healthcheck", {}).get("test")
        return test[1:] if test else None

    @property
    def waits_for(self) -> dict[str, str]:
        """Service -> condition."""
        return {name: each["condition"] for name, each in self.written.get("depends_on", {}).items()}

    @property
    def restarts(self) -> bool:
        return self.written["restart"] != "no"

    @property
    def mounts(self) -> list[tuple[str | None, str]]:
        """Volume and where it is; one without a name belongs to this container."""
        pairs = (volume.rpartition(":") for volume in self.written.get("volumes", []))
        return [(name or None, target) for name, _, target in pairs]

    @property
    def tmpfs(self) -> list[str]:
        return [entry.partition(":")[0] for entry in self.written.get("tmpfs", [])]

    @property
    def grace(self) -> float:
        """Seconds."""
        return float(self.written["stop_grace_period"].removesuffix("s"))


def services(env: Mapping[str, str], profiles: Iterable[str] = ()) -> list[Service]:
    """Those that `docker compose up` starts, each after all that it waits for. Raises Missing."""
    written = interpolated(tree()["services"], env)
    wanted = {
        name: Service(name, each, env)
        for name, each in written.items()
        if set(each.get("profiles", profiles)) <= set(profiles)
    }
    ordered: list[Service] = []
    while len(ordered) < len(wanted):
        there = {service.name for service in ordered}
        ordered += [each for each in wanted.values() if each.name not in there and each.waits_for.keys() <= there]
    return ordered

"""Which operations this installation has."""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from schemas.errors import SettingsInvalid
from schemas.operation import Operation
from schemas.topics import Topic

GROUP = "turnstream.operations"

OTHER_FIELDS = frozenset({"audio", "file", "operation", "lane", "webhook_url"})
"""What a form may say besides an operation's parameters."""
OTHER_TOPICS = frozenset({Topic.JOBS, Topic.JOBS_RETRY, Topic.JOBS_DLQ, Topic.JOB_PROGRESS, Topic.JOB_CONTROL})

Operations = Mapping[str, Operation]
"""By name, those of Turnstream first."""


@cache
def installed() -> Operations:
    """Every operation that an installed distribution brings. Raises SettingsInvalid where one cannot be had."""
    found: dict[str, Operation] = {}
    for point in sorted(entry_points(group=GROUP), key=_ours_first):
        try:
            operation = point.load()
        except Exception as error:  # what somebody else's module raises can be anything
            raise SettingsInvalid(
                f"the operation {point.name} ({point.value}) cannot be imported: {error!r}"
            ) from error
        if not isinstance(operation, Operation):
            raise SettingsInvalid(f"{point.value} is no operation")
        if operation.name in found:
            raise SettingsInvalid(f"two distributions bring an operation {operation.name}; the second is {point.value}")
        found[operation.name] = operation
    for operation in found.values():
        _check_names(operation)
        _check_stages(operation, found)
    return found


def result_topics(operations: Operations) -> tuple[str, ...]:
    return tuple(dict.fromkeys(operation.topic for operation in operations.values()))


def load(path: str) -> Any:
    """What "package.module:name" stands for."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def _ours_first(point: EntryPoint) -> tuple[bool, str]:
    return point.dist is None or point.dist.name != "turnstream", point.name


def _check_names(operation: Operation) -> None:
    if taken := OTHER_FIELDS & operation.params.model_fields.keys():
        raise SettingsInvalid(
            f"the operation {operation.name} has a parameter {min(taken)}, which means something else"
        )
    if operation.topic in OTHER_TOPICS:
        raise SettingsInvalid(
            f"the operation {operation.name} has its results on {operation.topic}, which is no such topic"
        )


def _check_stages(operation: Operation, found: Operations) -> None:
    for stage in operation.stages:
        if stage not in found or found[stage].engine is None:
            raise SettingsInvalid(
                f"the operation {operation.name} has a stage {stage}, which is no operation with an engine"
            )

"""An operation: one kind of work, from the form a caller fills to the formats a result is read in.

All that takes part follows from it: the API's form and description, the topics and their partitions, the worker's engine.
Operations are found by the entry-point group `turnstream.operations`; docs/operations.md shows how one is added.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.base import Form, Value
from schemas.formats import Format
from schemas.jobs import OPERATION_NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Either `engine` or `stages` says who does the work.

    Strings such as "package.module:function" name what is imported only by the process that needs it: an engine brings
    libraries which the API should not load.
    """

    name: str
    summary: str
    """One line for the API's description."""
    params: type[Form]
    result: type[Value]
    """Has the fields job_id, run and timings beside its own."""
    formats: Mapping[str, Format]
    """By the name in `?format=`; the first is what a caller gets who does not choose."""
    example: Mapping[str, Any]
    """A result in JSON, without job_id and run: for the description, and what the scripted engine answers."""
    topic: str
    """Where the ends of runs are told."""
    event: str
    """The middle of the event types: `turnstream.<event>.completed.v1` and `.failed.v1`."""
    engine: str | None = None
    """`factory(context: processor.engines.base.EngineContext) -> Engine`."""
    stages: tuple[str, ...] = ()
    """Operations whose engines work one after the other, each on the same recording."""
    combine: str | None = None
    """`combine(stages: Mapping[str, dict]) -> dict`: the fields of `result` from those of each stage's."""
    check: str | None = None
    """`check(settings: Settings, params: Mapping[str, Any]) -> None`: refuses at submission what this installation cannot do.
    Raises a RequestError. Must not wait for anything outside the machine."""
    audio: bool = True
    """Whether it works on a recording; otherwise on its parameters alone."""

    def __post_init__(self) -> None:
        if not re.fullmatch(OPERATION_NAME, self.name):
            raise ValueError(f"{self.name!r} is no name for an operation: lower-case letters, digits and hyphens")
        if bool(self.engine) == bool(self.stages) or bool(self.stages) != bool(self.combine):
            raise ValueError(f"operation {self.name} needs an engine, or stages and how they are combined")

    @property
    def models(self) -> tuple[str, ...]:
        """Whose engines do its stages, in their order. An engine's model has the name of the engine's operation."""
        return self.stages or (self.name,)

    @property
    def completed(self) -> str:
        """The type of the event that a run succeeded."""
        return f"turnstream.{self.event}.completed.v1"

    @property
    def failed(self) -> str:
        """The type of the event that a run failed or was cancelled."""
        return f"turnstream.{self.event}.failed.v1"

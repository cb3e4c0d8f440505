"""What a backfill does with each recording."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from schemas.base import Form
from schemas.jobs import Lane
from schemas.operation import Operation
from turnstream.backfill.archive import Recording
from turnstream.backfill.names import result_name


@dataclass(frozen=True)
class Work:
    operation: Operation
    params: Form
    format_: str
    lane: Lane = Lane.BATCH
    out: Path | None = None
    """Where the results go, in the folders of the archive; None: each beside its recording."""
    wait: bool = True
    """False: recordings are only handed in."""

    @cached_property
    def said(self) -> Mapping[str, Any]:
        """The parameters that differ from what they are without being said."""
        return self.params.model_dump(mode="json", exclude_defaults=True)

    @cached_property
    def id(self) -> str:
        """The same for the same operation with the same parameters."""
        return _digest(self.operation.name, self.said)

    def task(self, sha256: str) -> str:
        """The same for the same work on the same bytes: the idempotency key, and what is known of the recording here."""
        return _digest(sha256, self.operation.name, self.said)

    def target(self, recording: Recording) -> Path:
        beside = recording.path if self.out is None else self.out.absolute() / recording.name
        return Path(result_name(beside, self.operation.name, self.format_))


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=dict).encode()).hexdigest()

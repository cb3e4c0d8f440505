"""Events as a broker had them, and as other people's tools see them."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

V1 = Path(__file__).parents[1] / "fixtures" / "events" / "v1"
"""Records that release 0.1.0 published, read from the broker of its stack, and in schemas/ its models as JSON Schema."""


@dataclass(frozen=True)
class Stored:
    topic: str
    key: str
    headers: dict[str, str]
    value: str

    @classmethod
    def read(cls, path: Path) -> Self:
        return cls(**json.loads(path.read_text()))

    @property
    def type(self) -> str:
        return self.headers["ce_type"]

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.value)

    @property
    def raw_headers(self) -> list[tuple[str, bytes]]:
        return [(name, value.encode()) for name, value in self.headers.items()]

    def grown(self) -> Self:
        """As a later release of v1 may publish it: with more headers, and more fields at every level."""

        def more(node: Any) -> Any:
            if isinstance(node, dict):
                within = {name: value if name == "params" else more(value) for name, value in node.items()}
                a_map = all(isinstance(value, dict) for value in node.values())  # whose keys are data, such as stages
                return within if a_map else {**within, "added_later": {"as": ["anything", None]}}
            return [more(each) for each in node] if isinstance(node, list) else node

        return replace(self, headers={**self.headers, "ce_addedlater": "1"}, value=json.dumps(more(self.data)))


def stored_events() -> dict[str, Stored]:
    return {path.stem: Stored.read(path) for path in sorted(V1.glob("*.json"))}


def as_cloudevent(headers: list[tuple[str, bytes]], key: bytes | None, value: bytes) -> CloudEvent:
    """By the SDK of the specification."""
    event = from_binary(KafkaMessage(headers=dict(headers), key=key, value=value), JSONFormat())
    assert isinstance(event, CloudEvent)
    return event

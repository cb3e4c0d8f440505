"""Server-sent events as a reader parses them: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation"""

import json
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sent:
    event: str
    id: str
    data: Any
    """Parsed, as all of ours is JSON."""


async def parsed(lines: AsyncIterable[str]) -> AsyncIterator[Sent]:
    """The events of a stream, from its lines. One that is not whole is none."""
    event, id_, data = "message", "", []
    async for line in lines:
        if not line:
            if data:
                yield Sent(event, id_, json.loads("\n".join(data)))
            event, data = "message", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "event":
                event = value
            case "data":
                data.append(value)
            case "id" if "\0" not in value:
                id_ = value

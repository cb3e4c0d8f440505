"""The incarnations of topics: an offset says nothing about a topic that was made anew."""

import asyncio
from contextlib import suppress

from processor.persistence import persistently
from schemas.errors import BrokerUnavailable
from turnstream.bus.base import Bus


class TopicIds:
    """Each is asked for once, however many want it at a time. A worker ends when the broker lost its topics; until then what it
    knows are those that are gone.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._known: dict[str, str] = {}
        self._asking = asyncio.Lock()

    async def __call__(self, topic: str) -> str | None:
        """Waits for a broker that is away. None where there is no such topic."""
        async with self._asking:
            if topic not in self._known:
                found = await persistently(f"look for {topic}", lambda: self._bus.topic_id(topic))
                if found is None:
                    return None
                self._known[topic] = found
            return self._known[topic]

    async def at_once(self, topic: str) -> str | None:
        """None also where the broker does not say."""
        if topic not in self._known:
            with suppress(BrokerUnavailable):
                if found := await self._bus.topic_id(topic):
                    self._known[topic] = found
        return self._known.get(topic)

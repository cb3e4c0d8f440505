"""Which models have jobs that lie in our partitions and have not been received yet."""

from collections.abc import Container

from processor.receipts import Flow
from schemas.topics import Layout
from turnstream.operations import Operations


class Backlog(Container[str]):
    """`model in backlog` asks at that moment: it is wanted seldom, when nothing else of a model is left to do."""

    def __init__(self, flow: Flow, layout: Layout, operations: Operations) -> None:
        self._flow = flow
        self._slots = layout.slots
        # A job begins with its operation's first stage; the later ones of a job that was begun elsewhere are not foreseen.
        self._models = {
            slot: operations[place.partition("/")[0]].models[0]
            for place, slot in layout.slot.items()
            if place.partition("/")[0] in operations
        }

    def __contains__(self, model: object) -> bool:
        return any(self._models.get(partition % self._slots) == model for partition in self._flow.behind())

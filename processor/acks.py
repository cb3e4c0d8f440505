"""Offsets of one partition become committable only in order. Pure: no broker, no clock."""


class Acks:
    """What was received of one partition, and what of it may be acknowledged.

    A committed offset says "all before me is done", so an offset that is done waits for every one received before it.
    """

    def __init__(self) -> None:
        self._open: dict[int, bool] = {}  # offset -> done; in order of receipt, which is the order of offsets

    def __len__(self) -> int:
        """Offsets received and not yet acknowledged."""
        return len(self._open)

    def track(self, offset: int) -> None:
        """Note an offset as received. Offsets of a partition come in ascending order."""
        self._open.setdefault(offset, False)

    def done(self, offset: int) -> list[int]:
        """Note that an offset is done with; returns those that may be acknowledged now, in order."""
        if offset not in self._open:
            return []
        self._open[offset] = True
        ready: list[int] = []
        for received, done in self._open.items():
            if not done:
                break
            ready.append(received)
        for received in ready:
            del self._open[received]
        return ready

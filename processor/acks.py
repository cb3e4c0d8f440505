"""What was received of one partition, and how far all of it is done. Pure: no broker, no clock."""

from collections.abc import Container


class Acks:
    """A committed offset says "all before me is done", so it cannot pass one that was received and is not done.

    Offsets that never come, as those of a transaction's marker, hold nothing up.
    """

    def __init__(self) -> None:
        self._received: dict[int, bool] = {}  # offset -> done; in order of receipt, which is the order of offsets
        self._open = 0
        self._last = -1

    def __len__(self) -> int:
        """Offsets received and not done."""
        return self._open

    @property
    def span(self) -> int:
        """Offsets from the first that is not done to the last received."""
        return self._last + 1 - next(iter(self._received), self._last + 1)

    def track(self, offset: int) -> None:
        """Note an offset as received. Offsets of a partition come in ascending order."""
        if offset not in self._received:
            self._received[offset] = False
            self._open += 1
            self._last = max(self._last, offset)

    def done(self, offset: int) -> list[int]:
        """Note that an offset is done with; returns those that may be acknowledged now, in order."""
        if self._received.get(offset, True):
            return []
        self._received[offset] = True
        self._open -= 1
        ready: list[int] = []
        for received, done in self._received.items():
            if not done:
                break
            ready.append(received)
        for received in ready:
            del self._received[received]
        return ready

    def frontier(self, also: Container[int] = ()) -> int:
        """The offset to commit if those in `also` were done, too: all received before it is."""
        for received, done in self._received.items():
            if not done and received not in also:
                return received
        return self._last + 1

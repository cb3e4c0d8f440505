"""The waiting jobs of one model: two lanes, and in each its owners by turns."""

import heapq
from dataclasses import dataclass
from itertools import count

from schemas.jobs import JobKey, Lane

UNKNOWN_COST = 60.0
"""What a job of unknown cost counts for among its lane's owners. Where no cost is known, owners go by turns."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A job, or one stage of it, that waits for a model."""

    id: JobKey
    model: str
    lane: Lane
    owner: str
    """The id of the API key that submitted it."""
    since: float
    """Seconds: when it began to wait for this model, so for a second stage when the first had ended."""
    seconds: float = 0.0
    """What it may cost, such as the length of its audio; 0: unknown."""
    alone: bool = False
    """It was open when an engine died, so it may only hurt itself."""

    @property
    def cost(self) -> float:
        return self.seconds if self.seconds > 0 else UNKNOWN_COST


class Oldest:
    """Tickets of which the oldest can be seen and any taken out, each in O(log n) over many calls."""

    def __init__(self) -> None:
        self._tickets: dict[JobKey, Ticket] = {}
        self._heap: list[tuple[float, JobKey, int, Ticket]] = []  # with entries of tickets that are gone
        self._serial = count()

    def __len__(self) -> int:
        return len(self._tickets)

    @property
    def head(self) -> Ticket | None:
        while self._heap and self._tickets.get(self._heap[0][1]) is not self._heap[0][3]:
            heapq.heappop(self._heap)
        return self._heap[0][3] if self._heap else None

    def add(self, ticket: Ticket) -> None:
        self._tickets[ticket.id] = ticket
        heapq.heappush(self._heap, (ticket.since, ticket.id, next(self._serial), ticket))

    def remove(self, ticket: Ticket) -> None:
        del self._tickets[ticket.id]
        if len(self._heap) > 2 * len(self._tickets) + 16:
            self._heap = [entry for entry in self._heap if self._tickets.get(entry[1]) is entry[3]]
            heapq.heapify(self._heap)


class Turns:
    """The waiting jobs of one lane: an owner's oldest first, the owners by start-time fair queueing.

    Each job moves its owner's turn on by its cost, and the owner whose turn is earliest goes next: owners who keep jobs
    waiting get equal shares in seconds of audio, however many jobs or however long ones they sent. An owner who comes
    anew takes the turn of the job taken last, so absence earns nothing. Once nothing waits, all begin anew.
    (Goyal, Vin and Cheng, "Start-time fair queueing", SIGCOMM 1996.)
    """

    def __init__(self) -> None:
        self._all = Oldest()
        self._owners: dict[str, Oldest] = {}
        self._turns: dict[str, float] = {}
        self._next: list[tuple[float, float, str]] = []  # (turn, since of the head, owner), outdated entries among them
        self._now = 0.0

    def __len__(self) -> int:
        return len(self._all)

    @property
    def oldest(self) -> float:
        """Since when the job waits that waits longest; infinite where none does."""
        head = self._all.head
        return head.since if head is not None else float("inf")

    def add(self, ticket: Ticket) -> None:
        owned = self._owners.setdefault(ticket.owner, Oldest())
        if not owned:
            self._turns[ticket.owner] = max(self._now, self._turns.get(ticket.owner, 0.0))
        owned.add(ticket)
        self._all.add(ticket)
        if owned.head is ticket:
            self._offer(ticket)

    def remove(self, ticket: Ticket) -> None:
        owned = self._owners[ticket.owner]
        was_head = owned.head is ticket
        owned.remove(ticket)
        self._all.remove(ticket)
        if not self._all:
            self._owners.clear()
            self._turns.clear()
            self._next.clear()
            self._now = 0.0
        elif was_head and (head := owned.head) is not None:
            self._offer(head)

    def take(self) -> Ticket:
        """Take out the job whose turn it is. IndexError where none waits."""
        while True:
            turn, since, owner = heapq.heappop(self._next)
            head = self._owners[owner].head
            if head is not None and (turn, since) == (self._turns[owner], head.since):
                break
        self._now = turn
        self._turns[owner] = turn + head.cost
        self.remove(head)
        return head

    def _offer(self, head: Ticket) -> None:
        heapq.heappush(self._next, (self._turns[head.owner], head.since, head.owner))


class Lanes:
    """The waiting jobs of one model."""

    def __init__(self) -> None:
        self._lanes = {lane: Turns() for lane in Lane}

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def __getitem__(self, lane: Lane) -> Turns:
        return self._lanes[lane]

    @property
    def oldest(self) -> float:
        """Since when the job waits that waits longest; infinite where none does."""
        return min(turns.oldest for turns in self._lanes.values())

    def add(self, ticket: Ticket) -> None:
        self._lanes[ticket.lane].add(ticket)

    def remove(self, ticket: Ticket) -> None:
        self._lanes[ticket.lane].remove(ticket)

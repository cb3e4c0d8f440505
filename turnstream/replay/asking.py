"""What a replay is asked for, and whether that is what its name stands for already."""

import getpass
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product

from pydantic import JsonValue, ValidationError

from schemas.errors import ReplayRefused
from schemas.jobs import JobState, Params, is_numbered_run_name
from schemas.operation import Operation
from turnstream.operations import Operations
from turnstream.records import Records, ReplayRequest, Source
from turnstream.replay.when import read_time
from turnstream.settings import BrokerKind, Settings


@dataclass(frozen=True, slots=True)
class Order:
    """A replay as it was typed; without `since` the one that has this name is meant."""

    name: str
    since: str | None = None
    until: str | None = None
    operation: str | None = None
    state: JobState | None = None
    params: Mapping[str, str] | None = None
    source: Source | None = None

    @property
    def bare(self) -> bool:
        return not any((self.since, self.until, self.operation, self.state, self.params, self.source))

    @property
    def bounds(self) -> dict[str, str]:
        """As they were typed."""
        return {name: text for name, text in (("from", self.since), ("to", self.until)) if text}


def request_of(settings: Settings, records: Records, operations: Operations, order: Order) -> ReplayRequest:
    """What this replay is to do: what its name stands for, or what was typed where the name is free. Stores nothing, blocks.

    Raises ReplayRefused.
    """
    now = datetime.now(UTC)
    known = records.replay(order.name)
    if known is not None:
        _require_same(known, order, now)
        if records.replay_cancelled(order.name):
            raise ReplayRefused(f"The replay {order.name} was cancelled: give this one another name")
        request = known
    elif order.since is None:
        raise ReplayRefused(f"There is no replay {order.name} to go on with: say where it begins with --from")
    else:
        request = _new(order, order.since, now)
    _require_possible(settings, operations, request)
    return request


def start(records: Records, order: Order, request: ReplayRequest) -> ReplayRequest:
    """Take the name for it. Raises ReplayRefused where somebody was quicker with something else. Blocks."""
    stands = records.start_replay(order.name, request)
    if stands != request:
        _require_same(stands, order, request.at)
    return stands


def _new(order: Order, since: str, now: datetime) -> ReplayRequest:
    if is_numbered_run_name(order.name):
        raise ReplayRefused(
            f"{order.name} is a name that single runs of a job get by themselves: give the replay another"
        )
    # What is not yet is none of the past: a repetition would find more.
    until = min(read_time(order.until, now), now) if order.until else now
    request = ReplayRequest(
        since=read_time(since, now),
        until=until,
        operation=order.operation,
        state=order.state,
        params=dict(order.params or {}),
        source=order.source or Source.RECORD,
        asked=order.bounds,
        by=_who(),
        at=now,
    )
    if request.since >= request.until:
        raise ReplayRefused(f"Nothing lies between {_iso(request.since)} and {_iso(request.until)}")
    return request


def _require_same(known: ReplayRequest, order: Order, now: datetime) -> None:
    """What is relative is compared as it was typed: an hour later `2h` means the same replay all the same."""
    if order.bare:
        return
    said = {
        "--operation": (known.operation, order.operation),
        "--state": (known.state, order.state),
        "--param": (known.params, dict(order.params or {})),
        "--source": (known.source, order.source or Source.RECORD),
        "--from": (known.asked.get("from"), order.since) if not _is(known.since, order.since, now) else (None, None),
        "--to": (known.asked.get("to"), order.until) if not _is(known.until, order.until, now) else (None, None),
    }
    other = [name for name, (was, now_) in said.items() if was != now_]
    if other:
        raise ReplayRefused(
            f"There is a replay {order.name} with another {', '.join(other)}: give this one another name, or go on with that "
            f"one by `turnstream replay --run {order.name}`"
        )


def _is(known: datetime, typed: str | None, now: datetime) -> bool:
    return bool(typed) and read_time(typed, now) == known


def _require_possible(settings: Settings, operations: Operations, request: ReplayRequest) -> None:
    if request.source is Source.TOPIC and settings.broker is BrokerKind.EMBEDDED:
        raise ReplayRefused(
            "--source topic wants Apache Kafka (BROKER=kafka): the embedded broker cannot be asked for a time; "
            "--source record replays from the object store"
        )
    if request.operation is not None and request.operation not in operations:
        raise ReplayRefused(f"There is no operation {request.operation!r}; there are {', '.join(operations)}")
    meant = [operations[each] for each in operations if request.operation in {None, each}]
    _require_taken(meant, request.params)


def _require_taken(meant: Sequence[Operation], params: Params) -> None:
    """What no job can be asked for is refused here: asked for job by job each would fail alone, and the name be used up."""
    takers = [each for each in meant if params.keys() <= each.params.model_fields.keys()]
    if not takers:
        takes = "; ".join(f"{each.name} takes {', '.join(each.params.model_fields)}" for each in meant)
        raise ReplayRefused(f"--param {' and '.join(params)}: {takes}")
    for operation, (name, value) in product(takers, params.items()):
        if fault := _fault(operation, name, value):
            raise ReplayRefused(f"--param {name}={value}: {fault} ({operation.name})")


def _fault(operation: Operation, name: str, value: JsonValue) -> str | None:
    """What the parameter by itself has against a value. How it goes with others is a matter of each job."""
    try:
        operation.params.model_validate({name: value} if value != "" else {})
    except ValidationError as error:
        faults = [each["msg"] for each in error.errors(include_input=False) if each["loc"][:1] == (name,)]
        return faults[0].removeprefix("Value error, ") if faults else None
    return None


def _who() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container knows no names
        user = "?"
    return f"{user}@{socket.gethostname()}"


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="seconds")

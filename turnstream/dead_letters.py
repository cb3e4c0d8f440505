"""A dead letter: a record that was set aside on `gpu-jobs.dlq`, as it came but for headers that say why.
Those of its own headers for which there is no room in HEADERS_LIMIT are left out, and so is a key that has none there.

error, detail   code of the error, and its words
attempt         how often the job was tried
src             topic/partition/offset where it lay
stored          1: the value was too large for the topic, and this one says where it is kept
"""

from dataclasses import dataclass

from pydantic import ValidationError

from schemas.base import Value
from schemas.errors import ErrorInfo, EventInvalid, StoreUnavailable
from schemas.events import Event, Headers, size_of
from schemas.jobs import JobId, JobKey, RunName
from schemas.topics import DEAD_LETTER_LIMIT, HEADERS_LIMIT
from turnstream.bus.base import Position, Record
from turnstream.records import Records

OURS = frozenset({"error", "detail", "attempt", "src", "stored"})


class Stored(Value):
    """The value of a dead letter whose own value was too large."""

    object: str
    size: int
    sha256: str
    src: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """As read; what a header does not say, or not readably, is empty or None."""

    record: Record
    error: str
    detail: str
    attempt: int | None
    src: Position | None
    id: JobKey | None
    """The run it is about, where it names one."""
    stored: Stored | None

    @property
    def offset(self) -> int:
        return self.record.position.offset

    @property
    def original_headers(self) -> Headers:
        return tuple((name, value) for name, value in self.record.headers if name not in OURS)


def set_aside(records: Records, record: Record, error: ErrorInfo, attempt: int) -> tuple[bytes | None, Headers]:
    """The value and the headers of the dead letter of a record. A value too large for the topic is stored, before anything
    refers to it. Blocks; raises StoreUnavailable.
    """
    headers = {"error": error.code, "detail": error.detail, "attempt": str(attempt), "src": str(record.position)}
    value = record.value
    if value is not None and len(value) > DEAD_LETTER_LIMIT:
        key = records.keep_dead_letter(value)
        stored = Stored(object=key, size=len(value), sha256=key.rpartition("/")[2], src=str(record.position))
        value, headers = stored.model_dump_json().encode(), headers | {"stored": "1"}
    return value, (*_theirs(record.headers), *((name, content.encode()) for name, content in headers.items()))


def key_of(record: Record) -> bytes | None:
    """The key of its dead letter."""
    return record.key if len(record.key or b"") <= HEADERS_LIMIT else None


def read(record: Record) -> DeadLetter:
    """Never raises: whatever lies on the topic, somebody wants to look at it."""
    said = {name: value.decode(errors="replace") for name, value in record.headers}
    return DeadLetter(
        record=record,
        error=said.get("error", ""),
        detail=said.get("detail", ""),
        attempt=_number(said.get("attempt", "")),
        src=_position(said.get("src", "")),
        id=run_named_by(record),
        stored=_stored(record.value) if "stored" in said else None,
    )


def original(records: Records, letter: DeadLetter) -> bytes | None:
    """The value as the record came with it. Blocks; raises StoreUnavailable."""
    if letter.stored is None:
        return letter.record.value
    data = records.dead_letter(letter.stored.object)
    if data is None:
        raise StoreUnavailable(f"the value of dead letter {letter.offset} is not at {letter.stored.object} any more")
    return data


class _Run(Value):
    job_id: JobId
    run: RunName


def run_named_by(record: Record) -> JobKey | None:
    """The run that a record is about, whatever its value may be; None where it names none."""
    try:
        job_id, _, run = Event.parse(record.headers, record.value).id.partition("/")
        named = _Run(job_id=job_id, run=run)
    except (EventInvalid, ValidationError):
        return None
    return named.job_id, named.run


def _theirs(headers: Headers) -> Headers:
    """Those that are not ours, as far as there is room for them."""
    kept: list[tuple[str, bytes]] = []
    room = HEADERS_LIMIT
    for header in headers:
        if header[0] not in OURS and (size := size_of((header,))) <= room:
            kept.append(header)
            room -= size
    return tuple(kept)


def _position(text: str) -> Position | None:
    topic, _, rest = text.partition("/")
    partition, offset = map(_number, rest.partition("/")[::2])
    return None if partition is None or offset is None else Position(topic, partition, offset)


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _stored(value: bytes | None) -> Stored | None:
    try:
        return Stored.model_validate_json(value or b"")
    except ValidationError:
        return None

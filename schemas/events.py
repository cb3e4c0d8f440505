"""Every event is a CloudEvent in Kafka's binary mode: attributes in headers, data as the JSON value.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

import builtins
import re
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Self, TypeVar

from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from schemas.base import Value
from schemas.errors import EventInvalid, EventVersionUnknown

JOB_REQUESTED = "turnstream.job.requested.v1"
JOB_PROGRESSED = "turnstream.job.progressed.v1"
CANCEL_REQUESTED = "turnstream.job.cancel-requested.v1"

CONTENT_TYPE = "application/json"
SPEC_VERSION = "1.0"
_ATTRIBUTES = ("id", "type", "source", "subject", "time")
Headers = tuple[tuple[str, bytes], ...]
Model = TypeVar("Model", bound=BaseModel)


def size_of(headers: Headers) -> int:
    """Bytes they take in a record, or a few more. Kafka's headers may be without a value."""
    return sum(len(name.encode()) + len(value or b"") + 10 for name, value in headers)


def new_traceparent() -> str:
    """The root of a W3C trace context: https://www.w3.org/TR/trace-context/#traceparent-header"""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def continued(traceparent: str) -> str:
    """What a caller or a record says, if it is a trace context: else a new one begins, as W3C has it."""
    fits = re.fullmatch("[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", traceparent)
    return traceparent if fits else new_traceparent()


def event_id(job_id: str, run: str) -> str:
    """The deterministic id by which a subscriber drops a repeated event."""
    return f"{job_id}/{run}"


class Event(Value):
    """A CloudEvent and its data as JSON bytes. The Kafka key is the subject: the job's id."""

    id: str = Field(min_length=1)
    type: str = Field(min_length=1)
    source: str = Field(min_length=1)
    subject: str = Field(min_length=1)
    time: AwareDatetime
    traceparent: str
    data: bytes

    @classmethod
    def of(
        cls, type_: str, source: str, subject: str, id_: str, data: BaseModel, traceparent: str | None = None
    ) -> Self:
        return cls(
            id=id_,
            type=type_,
            source=source,
            subject=subject,
            time=datetime.now(UTC),
            traceparent=traceparent or new_traceparent(),
            data=data.model_dump_json(exclude_none=True).encode(),
        )

    @property
    def key(self) -> bytes:
        return self.subject.encode()

    @property
    def headers(self) -> Headers:
        attributes = {
            "ce_specversion": SPEC_VERSION,
            "ce_id": self.id,
            "ce_type": self.type,
            "ce_source": self.source,
            "ce_subject": self.subject,
            "ce_time": self.time.isoformat(),
            "content-type": CONTENT_TYPE,
            "traceparent": self.traceparent,
        }
        return tuple((name, value.encode()) for name, value in attributes.items())

    @classmethod
    def parse(cls, headers: Iterable[tuple[str, bytes]] | None, value: bytes | None) -> Self:
        """Read a record's headers and value back. Raises EventInvalid."""
        if value is None:
            raise EventInvalid("the record has no value")
        raw = dict(headers or ())  # whatever else others put there, text or not, is none of our business
        try:
            text = {name: raw[f"ce_{name}"].decode() for name in (*_ATTRIBUTES, "specversion") if f"ce_{name}" in raw}
            if text.pop("specversion", None) != SPEC_VERSION:
                raise EventInvalid(f"the record is not a CloudEvent of version {SPEC_VERSION}")
            traceparent = continued((raw.get("traceparent") or b"").decode("ascii", "replace"))
            return cls.model_validate(text | {"traceparent": traceparent, "data": value})
        except (ValidationError, UnicodeDecodeError, AttributeError) as error:
            raise EventInvalid(f"the record's headers are not those of a CloudEvent: {_brief(error)}") from error

    def read(self, type_: str, model: builtins.type[Model]) -> Model:
        """The data as `model`, if this event is of `type_`. Raises EventInvalid, EventVersionUnknown."""
        if self.type != type_:
            known, _, _ = type_.rpartition(".")
            if self.type.startswith(f"{known}."):
                raise EventVersionUnknown(f"{self.type} is not known here; {type_} is")
            raise EventInvalid(f"an event of type {self.type} does not belong here; {type_} does")
        try:
            return model.model_validate_json(self.data)
        except ValidationError as error:
            raise EventInvalid(f"the data of {self.type} does not fit: {_brief(error)}") from error


def _brief(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False)[:3])
    return str(error)

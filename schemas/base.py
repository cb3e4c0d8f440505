"""The one base class of every value on the wire."""

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A frozen value. Unknown fields are ignored, so that a reader of v1 outlives every addition to v1."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Form(BaseModel):
    """Frozen parameters a caller typed: an unknown field is a mistake and is said to be one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

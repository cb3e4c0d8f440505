"""The one base class of every value on the wire."""

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A frozen value. Unknown fields are ignored, so that a reader of v1 outlives every addition to v1.

    No number is infinite or NaN: JSON has neither, and what was written would not be read back. Only names are kept for the next
    parsing: ids, times and traces never come again.
    """

    model_config = ConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, allow_inf_nan=False, cache_strings="keys"
    )


class Form(BaseModel):
    """Frozen parameters a caller typed: an unknown field is a mistake and is said to be one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

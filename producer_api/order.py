"""What a form asks for: which operation, in which lane, with which parameters."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from producer_api.form import AUDIO_FIELDS
from producer_api.problems import invalid
from schemas.errors import InvalidRequest, UnknownOperation
from schemas.jobs import DEFAULT_OPERATION, Lane, Params
from schemas.operation import Operation
from turnstream.operations import Operations

JOB_FIELDS = ("operation", "lane")


@dataclass(frozen=True, slots=True)
class Order:
    operation: Operation
    lane: Lane
    params: Params


def read_order(fields: Mapping[str, str], operations: Operations) -> Order:
    """The order of a form that names its operation, or else means DEFAULT_OPERATION.

    Raises UnknownOperation, InvalidRequest.
    """
    name = fields.get("operation", DEFAULT_OPERATION)
    if name not in operations:
        raise UnknownOperation(f"There is no operation {name[:100]!r}; there are {', '.join(operations)}")
    lane = fields.get("lane", Lane.INTERACTIVE)
    if lane not in set(Lane):
        raise InvalidRequest(f"There is no lane {lane[:100]!r}; there are {', '.join(Lane)}")
    given = {field: value for field, value in fields.items() if field not in JOB_FIELDS}
    return Order(operations[name], Lane(lane), _params(operations[name], given, JOB_FIELDS))


def order_of(operation: Operation, fields: Mapping[str, str]) -> Order:
    """An interactive order for this operation, from a form of which every field is one of its parameters.

    Raises InvalidRequest.
    """
    return Order(operation, Lane.INTERACTIVE, _params(operation, fields, ()))


def _params(operation: Operation, fields: Mapping[str, str], others: tuple[str, ...]) -> Params:
    known = operation.params.model_fields
    for field in fields:
        if field not in known:
            names = ", ".join((*(AUDIO_FIELDS if operation.audio else ()), *others, *known))
            raise InvalidRequest(f"{operation.name} takes no field {field[:100]!r}; it takes {names}")
    try:
        return operation.params.model_validate(fields).model_dump(mode="json", exclude_none=True)
    except ValidationError as error:
        raise invalid(error) from None

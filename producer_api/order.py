"""What a form asks for: which operation, in which lane, with which parameters."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from producer_api.form import AUDIO_FIELDS, Upload
from producer_api.problems import invalid
from schemas.errors import InvalidRequest, UnknownOperation
from schemas.jobs import DEFAULT_OPERATION, RUN_NAMES, Lane, Params, is_run_name
from schemas.operation import Operation
from turnstream.operations import Operations, load
from turnstream.settings import Settings

WEBHOOK_FIELD = "webhook_url"
JOB_FIELDS = ("operation", "lane", WEBHOOK_FIELD)
RUN_FIELDS = ("run", WEBHOOK_FIELD)


@dataclass(frozen=True, slots=True)
class Order:
    operation: Operation
    lane: Lane
    params: Params
    webhook_url: str | None = None
    """As the form says it."""


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
    return Order(operations[name], Lane(lane), _params(operations[name], given, JOB_FIELDS), fields.get(WEBHOOK_FIELD))


def order_of(operation: Operation, fields: Mapping[str, str]) -> Order:
    """An interactive order for this operation, from a form of which every field but the webhook is one of its parameters.

    Raises InvalidRequest.
    """
    given = {field: value for field, value in fields.items() if field != WEBHOOK_FIELD}
    params = _params(operation, given, (WEBHOOK_FIELD,))
    return Order(operation, Lane.INTERACTIVE, params, fields.get(WEBHOOK_FIELD))


def read_run(upload: Upload, operation: Operation, params: Params) -> tuple[str | None, Params]:
    """The name of another run, if the form gives one, and its parameters: those of the job, `params`, but for what the form
    says otherwise; an empty value takes one back. Raises InvalidRequest.
    """
    given = {field: value for field, value in upload.fields.items() if field not in RUN_FIELDS}
    taken_back = upload.emptied - set(RUN_FIELDS)
    _require_known(operation, (*given, *taken_back), RUN_FIELDS)
    name = upload.fields.get("run")
    if name is not None and not is_run_name(name):
        raise InvalidRequest(f"{name[:100]!r} is no name of a run: {RUN_NAMES}")
    kept = {field: value for field, value in params.items() if field not in taken_back}
    return name, _validated(operation, kept | given)


def require_possible(operation: Operation, settings: Settings, params: Params) -> None:
    """Raises the RequestError with which the operation refuses what cannot be done here. Blocks."""
    if operation.check is not None:
        load(operation.check)(settings, params)


def _params(operation: Operation, fields: Mapping[str, str], others: tuple[str, ...]) -> Params:
    _require_known(operation, fields, (*(AUDIO_FIELDS if operation.audio else ()), *others))
    return _validated(operation, fields)


def _require_known(operation: Operation, fields: Iterable[str], others: Iterable[str]) -> None:
    known = operation.params.model_fields
    for field in fields:
        if field not in known:
            names = ", ".join((*others, *known))
            raise InvalidRequest(f"{operation.name} takes no field {field[:100]!r}; it takes {names}")


def _validated(operation: Operation, fields: Mapping[str, object]) -> Params:
    try:
        return operation.params.model_validate(fields).model_dump(mode="json", exclude_none=True)
    except ValidationError as error:
        raise invalid(error) from None

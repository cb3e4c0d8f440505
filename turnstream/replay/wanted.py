"""The run that a job is to get, and whether the one of that name is it."""

from pydantic import ValidationError

from schemas.errors import InvalidRequest, RunExists, UnknownOperation
from schemas.jobs import Job, Lane, Params
from schemas.operation import Operation
from schemas.topics import JOB_EVENT_LIMIT
from turnstream.operations import Operations
from turnstream.publishing import requested
from turnstream.records import Glimpse, Records, ReplayRequest, RunRequest
from turnstream.replay.candidates import accepted_between

NEVER = (InvalidRequest, RunExists, UnknownOperation)
"""What is wrong with a job of which no such run can be asked for, however often."""


def wanted(
    records: Records, operations: Operations, name: str, request: ReplayRequest, glimpse: Glimpse
) -> tuple[Job, Params] | None:
    """The job, and the parameters of its run; None where it is not meant. Raises JobNotFound, and one of NEVER. Blocks."""
    job = records.job(glimpse.job_id)
    if request.operation not in {None, job.operation} or not accepted_between(request, job):
        return None
    operation = operations.get(job.operation)
    if operation is None:
        raise UnknownOperation(f"the operation {job.operation} is not installed here")
    if not request.params.keys() <= operation.params.model_fields.keys():
        return None
    params = _params(operation, job.params | request.params)
    _require_size(job, params, name)
    if "request" in glimpse.run and (stands := records.run_request(job.id, name)) is not None:
        require_same(operation, name, stands, params)
    return job, params


def require_same(operation: Operation, name: str, stands: RunRequest, params: Params) -> None:
    """What the run's name stands for is compared as it is read today: another release may have written it.

    Raises RunExists where somebody else has asked for it, who wanted something else.
    """
    if stands.lane is not Lane.BATCH or _params(operation, stands.params) != params:
        raise RunExists(f"it has a run {name} that was asked for otherwise, not by this replay")


def _params(operation: Operation, said: Params) -> Params:
    """An empty text takes a parameter back. Raises InvalidRequest."""
    try:
        read = operation.params.model_validate({name: value for name, value in said.items() if value != ""})
    except ValidationError as error:
        raise InvalidRequest("; ".join(str(each["msg"]) for each in error.errors(include_input=False)[:3])) from None
    return read.model_dump(mode="json", exclude_none=True)


def _require_size(job: Job, params: Params, name: str) -> None:
    event = requested(job.model_copy(update={"params": params}), name)
    if (size := len(event.model_dump_json(exclude_none=True).encode())) > JOB_EVENT_LIMIT:
        raise InvalidRequest(f"its job event would have {size} bytes, {JOB_EVENT_LIMIT} at most")

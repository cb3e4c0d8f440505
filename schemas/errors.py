"""One tree of errors. The HTTP problem, `error.json`, the failed event and the dead letter's header all carry its `code`.

TurnstreamError
├── RequestError            the caller's call is at fault
│   ├── InvalidRequest      422 invalid_request
│   ├── UnknownOperation    422 unknown_operation
│   ├── AudioMissing        422 audio_missing
│   ├── Unauthorized        401 unauthorized
│   ├── WebhookRefused      422 webhook_refused
│   ├── WebhooksDisabled    422 webhooks_disabled
│   ├── WebhookNotFound     404 webhook_not_found
│   ├── JobNotFound         404 job_not_found
│   ├── RouteNotFound       404 not_found
│   ├── MethodNotAllowed    405 method_not_allowed
│   ├── NotAcceptable       406 not_acceptable
│   ├── ResultNotReady      409 result_not_ready
│   ├── JobCancelled        409 job_cancelled
│   ├── RunExists           409 run_exists
│   ├── TooManyRuns         409 too_many_runs
│   ├── KeyInUse            409 idempotency_key_in_use
│   ├── KeyReused           422 idempotency_key_reused
│   ├── UploadTooLarge      413 upload_too_large
│   ├── UploadTimeout       408 upload_timeout
│   ├── RequestMalformed    400 malformed_request
│   └── HeadersTooLarge     431 headers_too_large
├── AudioError              the recording is at fault
│   ├── AudioEmpty          422 audio_empty
│   ├── AudioUnreadable     422 audio_unreadable
│   ├── AudioFormatRefused  415 audio_format_refused
│   ├── AudioStreamMissing  422 audio_stream_missing
│   └── AudioTooLong        422 audio_too_long
├── ModelError              weights, engine or device are at fault
│   ├── WeightsUnavailable  503 weights_unavailable
│   ├── WeightsTokenRefused 503 weights_token_refused
│   ├── WeightsTermsNotAccepted 503 weights_terms_not_accepted
│   ├── WeightsCorrupt      503 weights_corrupt
│   ├── ModelLoadFailed     503 model_load_failed
│   ├── EngineCrashed       500 engine_crashed
│   ├── EngineHung          500 engine_hung
│   ├── EngineOutOfMemory   500 engine_out_of_memory
│   └── EngineFailed        500 engine_failed
├── InfrastructureError     something the service stands on is at fault
│   ├── BrokerUnavailable   503 broker_unavailable
│   ├── StoreUnavailable    503 store_unavailable
│   ├── LayoutMismatch      503 layout_mismatch
│   ├── OperationDisabled   503 operation_disabled
│   ├── ServiceUnreachable  503 service_unreachable
│   ├── Busy                503 busy
│   ├── WaitExpired         504 wait_expired
│   ├── AttemptsExhausted   500 attempts_exhausted
│   └── InternalError       500 internal_error
├── EventError              a record on a topic is at fault
│   ├── EventInvalid        422 event_invalid
│   └── EventVersionUnknown 422 event_version_unknown
└── LocalError              the command line or this machine is at fault: never sent, only shown
    ├── ExtraMissing        extra_missing
    ├── SettingsInvalid     settings_invalid
    ├── FileUnusable        file_unusable
    ├── PortTaken           port_taken
    ├── DataDirInUse        data_dir_in_use
    ├── StackFailed         stack_failed
    └── ReplayRefused       replay_refused
"""

from collections.abc import Iterator
from typing import Any, ClassVar

from schemas.base import Value


class ErrorInfo(Value):
    """An error as it is stored and sent: a stable `code` for programs and a `detail` for people."""

    code: str
    detail: str


class TurnstreamError(Exception):
    """Base of every failure that has a code. `extra` members are added to the HTTP problem document."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong inside Turnstream"
    retry_after: ClassVar[int | None] = None
    """Seconds after which a caller may try again, sent as Retry-After."""

    def __init__(self, detail: str = "", **extra: Any) -> None:
        self.detail = detail or self.title
        self.extra = extra
        super().__init__(self.detail)

    @property
    def info(self) -> ErrorInfo:
        return ErrorInfo(code=self.code, detail=self.detail)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.detail,)


class RequestError(TurnstreamError):
    status = 422


class InvalidRequest(RequestError):
    code = "invalid_request"
    title = "A parameter is not valid"


class UnknownOperation(RequestError):
    code = "unknown_operation"
    title = "There is no such operation"


class AudioMissing(RequestError):
    code = "audio_missing"
    title = "The form has no audio field"


class Unauthorized(RequestError):
    code = "unauthorized"
    status = 401
    title = "A valid API key is needed"


class WebhookRefused(RequestError):
    code = "webhook_refused"
    title = "Webhooks are not sent to this address"


class WebhooksDisabled(RequestError):
    code = "webhooks_disabled"
    title = "This service sends no webhooks: its operator has not set WEBHOOK_SECRET"


class WebhookNotFound(RequestError):
    code = "webhook_not_found"
    status = 404
    title = "The run has no webhook"


class JobNotFound(RequestError):
    code = "job_not_found"
    status = 404
    title = "There is no such job"


class RouteNotFound(RequestError):
    code = "not_found"
    status = 404
    title = "There is nothing at this address"


class MethodNotAllowed(RequestError):
    code = "method_not_allowed"
    status = 405
    title = "This address does not take that method"


class NotAcceptable(RequestError):
    code = "not_acceptable"
    status = 406
    title = "The result is not available in that format"


class ResultNotReady(RequestError):
    code = "result_not_ready"
    status = 409
    title = "The job has no result yet"
    retry_after = 2


class JobCancelled(RequestError):
    code = "job_cancelled"
    status = 409
    title = "The job was cancelled"


class RunExists(RequestError):
    code = "run_exists"
    status = 409
    title = "The job has another run of that name"


class TooManyRuns(RequestError):
    code = "too_many_runs"
    status = 409
    title = "The job has as many runs as get a name by themselves"


class KeyInUse(RequestError):
    code = "idempotency_key_in_use"
    status = 409
    title = "A submission under this Idempotency-Key is still on its way"
    retry_after = 2


class KeyReused(RequestError):
    code = "idempotency_key_reused"
    title = "This Idempotency-Key was used for another submission"


class UploadTooLarge(RequestError):
    code = "upload_too_large"
    status = 413
    title = "The upload is larger than this service takes"


class UploadTimeout(RequestError):
    code = "upload_timeout"
    status = 408
    title = "The upload did not arrive in time"


class RequestMalformed(RequestError):
    code = "malformed_request"
    status = 400
    title = "What came is not HTTP"


class HeadersTooLarge(RequestError):
    code = "headers_too_large"
    status = 431
    title = "The address and the headers of the call are too large"


class AudioError(TurnstreamError):
    status = 422


class AudioEmpty(AudioError):
    code = "audio_empty"
    title = "The recording holds no sound samples"


class AudioUnreadable(AudioError):
    code = "audio_unreadable"
    title = "The recording cannot be decoded"


class AudioFormatRefused(AudioError):
    code = "audio_format_refused"
    status = 415
    title = "This kind of file is not taken"


class AudioStreamMissing(AudioError):
    code = "audio_stream_missing"
    title = "The file has no audio stream"


class AudioTooLong(AudioError):
    code = "audio_too_long"
    title = "The recording is longer than this service takes"


class ModelError(TurnstreamError):
    status = 503


class WeightsUnavailable(ModelError):
    code = "weights_unavailable"
    title = "The model's weights could not be had"


class WeightsTokenRefused(ModelError):
    code = "weights_token_refused"
    title = "The model hub refused HF_TOKEN"


class WeightsTermsNotAccepted(ModelError):
    code = "weights_terms_not_accepted"
    title = "The terms of the model have not been accepted on the hub"


class WeightsCorrupt(ModelError):
    code = "weights_corrupt"
    title = "The model's files are not the ones expected"


class ModelLoadFailed(ModelError):
    code = "model_load_failed"
    title = "The model could not be loaded"


class EngineCrashed(ModelError):
    code = "engine_crashed"
    status = 500
    title = "The engine died while it worked on this job"


class EngineHung(ModelError):
    code = "engine_hung"
    status = 500
    title = "The engine stopped answering while it worked on this job"


class EngineOutOfMemory(ModelError):
    code = "engine_out_of_memory"
    status = 500
    title = "The device's memory does not suffice for this job"


class EngineFailed(ModelError):
    code = "engine_failed"
    status = 500
    title = "The engine could not process this recording"


class InfrastructureError(TurnstreamError):
    status = 503


class BrokerUnavailable(InfrastructureError):
    code = "broker_unavailable"
    title = "The message broker does not answer"
    retry_after = 5


class StoreUnavailable(InfrastructureError):
    code = "store_unavailable"
    title = "The object store does not answer or cannot be written"
    retry_after = 5


class LayoutMismatch(InfrastructureError):
    code = "layout_mismatch"
    title = "The topics are laid out differently from what this process expects"


class OperationDisabled(InfrastructureError):
    code = "operation_disabled"
    title = "This operation is switched off"


class ServiceUnreachable(InfrastructureError):
    code = "service_unreachable"
    title = "Nothing answers at the address of the service"


class Busy(InfrastructureError):
    code = "busy"
    title = "The service has as many callers as it can serve at once"
    retry_after = 5


class WaitExpired(InfrastructureError):
    code = "wait_expired"
    status = 504
    title = "The job is not finished within the wait limit; it goes on"
    retry_after = 5


class AttemptsExhausted(InfrastructureError):
    code = "attempts_exhausted"
    status = 500
    title = "The job took its worker down each time it was tried"


class InternalError(InfrastructureError):
    code = "internal_error"
    status = 500


class EventError(TurnstreamError):
    status = 422


class EventInvalid(EventError):
    code = "event_invalid"
    title = "The record is not an event Turnstream knows"


class EventVersionUnknown(EventError):
    code = "event_version_unknown"
    title = "The event is of a version this release does not know"


class LocalError(TurnstreamError):
    """What the command line tells the person in front of it; the command then ends with exit code 2."""


class ExtraMissing(LocalError):
    code = "extra_missing"
    title = "A part of Turnstream that this command wants is not installed"


class SettingsInvalid(LocalError):
    code = "settings_invalid"
    title = "A setting is not valid"


class FileUnusable(LocalError):
    code = "file_unusable"
    title = "The file cannot be read or written"


class PortTaken(LocalError):
    code = "port_taken"
    title = "The port is taken"


class DataDirInUse(LocalError):
    code = "data_dir_in_use"
    title = "Another stack uses this data directory"


class StackFailed(LocalError):
    code = "stack_failed"
    title = "The stack did not come up"


class ReplayRefused(LocalError):
    code = "replay_refused"
    title = "The replay cannot be done as it was asked for"


def error_classes(root: type[TurnstreamError] = TurnstreamError) -> Iterator[type[TurnstreamError]]:
    """Every class of the tree that has a code of its own."""
    for child in root.__subclasses__():
        if "code" in child.__dict__:
            yield child
        yield from error_classes(child)


def from_info(info: ErrorInfo) -> TurnstreamError:
    """The error that `info` was made from; a code of a later release comes back as InternalError with its detail."""
    for cls in error_classes():
        if cls.code == info.code:
            return cls(info.detail)
    return InternalError(f"{info.code}: {info.detail}")

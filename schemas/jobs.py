"""A job, the parameters of each operation, and what a caller is told of them."""

import re
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, JsonValue, StringConstraints, field_validator, model_validator

from schemas.base import Form, Value
from schemas.errors import ErrorInfo

JobId = Annotated[
    str, StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
]
"""A UUIDv7 in lower case: ids sort by the time of their making."""

RUN_NAME = r"^[a-z0-9][a-z0-9._-]{0,62}$"
RunName = Annotated[str, StringConstraints(pattern=RUN_NAME)]
"""The name of one computation of a job; the first is LIVE_RUN, a replay brings its own."""
RUN_NAMES = "1 to 63 lower-case letters, digits, dots, - and _, the first one a letter or a digit"

OPERATION_NAME = r"^[a-z][a-z0-9-]{0,30}$"
OperationName = Annotated[str, StringConstraints(pattern=OPERATION_NAME)]
Params = dict[str, JsonValue]
"""The parameters of a job, as the operation's own model writes them."""

JobKey = tuple[str, str]
"""(job id, run): what is computed, told, cancelled and kept apart by."""

LIVE_RUN = "live"
DEFAULT_OPERATION = "diarize"
MAX_SPEAKERS = 100
MAX_DURATION_EDIT = 60.0
"""Seconds up to which gaps may be filled and turns dropped."""
_LANGUAGE = re.compile(r"[a-z]{2,3}")


def is_run_name(text: str) -> bool:
    return re.fullmatch(RUN_NAME, text) is not None


def is_numbered_run_name(text: str) -> bool:
    """Whether a run may get this name by itself: of a rerun, of a backfill, of a dead letter that is asked for again."""
    return re.fullmatch(r"(run|backfill|dlq)-\d+(-\d+)?", text) is not None


class Lane(StrEnum):
    """Who is served first: somebody waits for an interactive job, nobody in particular for one of the batch lane."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


class Mode(StrEnum):
    """How the voice prints are computed."""

    EXACT = "exact"
    """The turns that stock pyannote.audio finds."""
    FAST = "fast"
    """Several times as fast, nearly as good; a recording that looks risky is computed exactly all the same."""


class Channels(StrEnum):
    """What a recording with several channels is."""

    MIX = "mix"
    """One scene: its channels are mixed before anything else."""
    SPLIT = "split"
    """One scene a channel, such as both ends of a telephone call: each has speakers of its own."""


class DiarizeParams(Form):
    """What a caller may say about the speakers of a recording."""

    num_speakers: int | None = Field(
        default=None, ge=1, le=MAX_SPEAKERS, description="exact number of speakers, when known"
    )
    min_speakers: int | None = Field(default=None, ge=1, le=MAX_SPEAKERS, description="at least so many speakers")
    max_speakers: int | None = Field(default=None, ge=1, le=MAX_SPEAKERS, description="at most so many speakers")
    mode: Mode | None = Field(
        default=None,
        description="exact: the turns that stock pyannote.audio finds; fast: nearly as good, several times as fast; "
        "where absent, as the service is set (DIARIZATION_MODE)",
    )
    channels: Channels = Field(
        default=Channels.MIX,
        description="mix: the channels of a recording are mixed; split: each has speakers of its own, as on the telephone",
    )
    embeddings: bool = Field(default=False, description="true: the result brings a voice print of each speaker")
    min_duration_off: float | None = Field(
        default=None,
        ge=0,
        le=MAX_DURATION_EDIT,
        description="seconds; shorter gaps between two turns of one speaker are filled; where absent, as the model says",
    )
    min_duration_on: float = Field(
        default=0.0, ge=0, le=MAX_DURATION_EDIT, description="seconds; shorter turns are dropped"
    )

    @model_validator(mode="after")
    def _bounds_agree(self) -> Self:
        low, high, exact = self.min_speakers, self.max_speakers, self.num_speakers
        if low is not None and high is not None and low > high:
            raise ValueError(f"min_speakers ({low}) is larger than max_speakers ({high})")
        if exact is not None and not (low or 1) <= exact <= (high or MAX_SPEAKERS):
            raise ValueError(f"num_speakers ({exact}) lies outside min_speakers and max_speakers")
        return self


class TranscribeParams(Form):
    """What a caller may say about the speech in a recording."""

    language: str | None = Field(
        default=None, pattern=f"^{_LANGUAGE.pattern}$", description="ISO 639-1; detected where absent"
    )
    vad: bool = Field(default=True, description="false: also what sounds like silence, noise or music is listened to")

    @field_validator("language", mode="before")
    @classmethod
    def _a_code(cls, language: object) -> object:
        if not isinstance(language, str):
            return language
        code = language.strip().lower()
        if not _LANGUAGE.fullmatch(code):
            raise ValueError(f"{language[:40]!r} is not a code of two or three letters, such as en")
        return code


class TranscriptParams(TranscribeParams, DiarizeParams):
    """Who said what: all that may be said of the speakers and of the speech."""


class AudioInfo(Value):
    """The uploaded recording as it came."""

    filename: str | None = None
    content_type: str | None = None
    size: int = Field(description="bytes")
    sha256: str
    duration: float | None = Field(default=None, description="seconds, as the container says; None where it does not")


class Job(Value):
    """A job as it was accepted: `jobs/<id>/job.json`. It never changes; its state is derived from the objects beside it."""

    id: JobId
    operation: OperationName = DEFAULT_OPERATION
    lane: Lane = Lane.INTERACTIVE
    params: Params = Field(default_factory=dict)
    owner: str = Field(description="the id of the API key that submitted it")
    created_at: AwareDatetime
    audio: AudioInfo | None = Field(default=None, description="null where the operation takes no recording")
    webhook_url: str | None = Field(default=None, description="where the end of its first run is told by a webhook")
    claim: str | None = Field(default=None, description="which claim on an Idempotency-Key it was submitted under")


class JobRequested(Value):
    """The job event on `gpu-jobs`: compute this job under this run's name."""

    job_id: JobId
    run: RunName = LIVE_RUN
    operation: OperationName
    lane: Lane
    params: Params
    owner: str
    created_at: AwareDatetime
    audio: AudioInfo | None = None


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}


class Progress(Value):
    """How far a running job is: a hint, from `job-progress`."""

    stage: str = Field(description="decode, load, segmentation, embedding, clustering, transcription")
    fraction: float = Field(ge=0, le=1, description="of the whole job")
    eta: float | None = Field(default=None, description="seconds left, estimated")


class JobProgressed(Value):
    """The event on `job-progress`."""

    job_id: JobId
    run: RunName
    state: Literal[JobState.RUNNING] = JobState.RUNNING
    progress: Progress


class CancelRequested(Value):
    """The event on `job-control`."""

    job_id: JobId
    run: RunName


class JobView(Value):
    """A job as a caller sees it."""

    id: JobId
    run: RunName = Field(default=LIVE_RUN, description="which computation of the job this is about")
    operation: OperationName
    state: JobState
    lane: Lane
    params: Params
    created_at: AwareDatetime = Field(description="when the job, or this run of it, was asked for")
    audio: AudioInfo | None = None
    progress: Progress | None = None
    ahead: int | None = Field(
        default=None,
        description="of a queued job: how many events lie before it in its partition; it may be served before some of them",
    )
    error: ErrorInfo | None = None


class JobRuns(Value):
    """All runs of a job, the first one first."""

    runs: list[JobView]


class JobPage(Value):
    """One page of a caller's jobs, newest first."""

    jobs: list[JobView]
    next: str | None = Field(default=None, description="pass as `after` for the following page; null on the last one")

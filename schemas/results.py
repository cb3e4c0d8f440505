"""What an operation found. Times are seconds from the start of the recording."""

from typing import Any, Generic, TypeVar

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from schemas.base import Value
from schemas.errors import ErrorInfo
from schemas.jobs import JobId, RunName


class Segment(Value):
    """One turn of one speaker."""

    speaker: str
    start: float
    end: float
    confidence: float | None = Field(default=None, ge=0, le=1)
    channel: int | None = Field(
        default=None, ge=0, description="of the recording, the first is 0; where its channels are told apart"
    )


class SpeakerStats(Value):
    """What is known of one speaker."""

    speaker: str
    speaking_time: float = Field(ge=0, description="seconds of turns, overlapped ones included")
    share: float = Field(ge=0, le=1, description="of the speaking time of all speakers")
    channel: int | None = Field(default=None, ge=0, description="where the channels of the recording are told apart")
    embedding: list[float] | None = Field(
        default=None, description="a voice print, where it was asked for and there was speech enough for one"
    )


class Timings(Value):
    """Where the time went, in seconds. Steps that several jobs share are counted in full for each of them."""

    queue: float = Field(description="from the acceptance of the job, or the end of its stage before, to the opening")
    decode: float
    load: float = Field(description="waiting for the model to be loaded")
    segmentation: float
    embedding: float
    clustering: float
    total: float = Field(description="from opening to the end: what `performance` says")


class TranscriptionTimings(Value):
    """Where the time of a transcription went, in seconds."""

    queue: float = Field(description="from the acceptance of the job, or the end of its stage before, to the opening")
    decode: float
    load: float = Field(description="waiting for the model to be loaded")
    transcription: float
    total: float = Field(description="from opening to the end: what `performance` says")


class AnalysedAudio(Value):
    duration: float = Field(description="seconds that were decoded")
    sha256: str
    sample_rate: int = Field(description="of the source, in Hz")
    channels: int = Field(description="of the source")


class ModelInfo(Value):
    name: str = Field(description="such as pyannote/speaker-diarization-community-1")
    source: str = Field(description="directory, hub or open-pack")
    mode: str = Field(
        description="how it was computed: of diarization exact or fast, of transcription the number format"
    )
    device: str
    revision: str = Field(description="short hash over the weights that were loaded")


class DiarizationResult(Value):
    """`jobs/<id>/runs/<run>/result.json`. `segments` may overlap; in `exclusive_segments` one speaker talks at a time."""

    job_id: JobId
    run: RunName
    segments: list[Segment]
    exclusive_segments: list[Segment]
    num_speakers: int
    speakers: list[str]
    speaker_stats: list[SpeakerStats] = Field(default_factory=list, description="one for each of `speakers`")
    overlap_share: float = Field(
        default=0.0, ge=0, le=1, description="time in which several speak, of the time in which anybody does"
    )
    performance: float = Field(description="seconds of processing")
    timings: Timings
    warnings: list[str] = Field(default_factory=list, description="stable codes")
    audio: AnalysedAudio
    model: ModelInfo


class Word(Value):
    """One spoken word."""

    word: str
    start: float
    end: float
    probability: float = Field(ge=0, le=1)


class SpokenSegment(Value):
    """What was said in one stretch, a sentence or so."""

    start: float
    end: float
    text: str
    words: list[Word] = Field(default_factory=list)


class TranscriptionResult(Value):
    """What was said, by whomever."""

    job_id: JobId
    run: RunName
    language: str = Field(description="ISO 639-1, as asked for or as detected")
    language_probability: float = Field(ge=0, le=1)
    text: str
    segments: list[SpokenSegment]
    performance: float = Field(description="seconds of processing")
    timings: TranscriptionTimings
    warnings: list[str] = Field(default_factory=list, description="stable codes")
    audio: AnalysedAudio
    model: ModelInfo


class OfSpeaker(Value):
    """What one speaker said. That nobody is known to have said it is told as null, also where other nulls are left out."""

    speaker: str | None = Field(description="null where nobody's turn is near")

    @model_serializer(mode="wrap")
    def _with_speaker(self, fields: SerializerFunctionWrapHandler):
        return {**fields(self), "speaker": self.speaker}


class SpeakerWord(OfSpeaker, Word):
    """One spoken word, and whose it is."""


class SpeakerSegment(OfSpeaker):
    """What one speaker said in one stretch; a segment ends where the speaker changes."""

    start: float
    end: float
    text: str
    words: list[SpeakerWord]


class TranscriptResult(Value):
    """Who said what: a transcription whose words know their speakers, and the turns that told so."""

    job_id: JobId
    run: RunName
    language: str
    language_probability: float = Field(ge=0, le=1)
    text: str
    segments: list[SpeakerSegment]
    turns: list[Segment] = Field(description="who spoke when; turns may overlap")
    exclusive_turns: list[Segment] | None = Field(
        default=None, description="the same with one speaker at a time; null where an earlier release made it"
    )
    num_speakers: int
    speakers: list[str]
    speaker_stats: list[SpeakerStats] = Field(default_factory=list, description="one for each of `speakers`")
    overlap_share: float = Field(
        default=0.0, ge=0, le=1, description="time in which several speak, of the time in which anybody does"
    )
    performance: float = Field(description="seconds of processing, of both stages")
    timings: dict[str, Timings | TranscriptionTimings] = Field(description="by stage")
    warnings: list[str] = Field(default_factory=list, description="stable codes")
    audio: AnalysedAudio
    models: dict[str, ModelInfo] = Field(description="by stage")


class ObjectRef(Value):
    """Where a result lies that is too large for an event."""

    key: str
    sha256: str
    size: int


Result = TypeVar("Result", bound=Value)


class RunCompleted(Value, Generic[Result]):
    """The completed event on an operation's result topic: the result inline, or a reference to its object."""

    job_id: JobId
    run: RunName
    object: ObjectRef
    result: Result | None = Field(
        default=None, description="absent where it is larger than an event may be: fetch it then"
    )

    @classmethod
    def model_parametrized_name(cls, params: tuple[Any, ...]) -> str:
        """Such as DiarizationCompleted."""
        return f"{params[0].__name__.removesuffix('Result')}Completed"


class RunFailed(Value):
    """The failed event on an operation's result topic; a cancelled run ends with the code `job_cancelled`."""

    job_id: JobId
    run: RunName
    error: ErrorInfo


DiarizationCompleted = RunCompleted[DiarizationResult]
TranscriptionCompleted = RunCompleted[TranscriptionResult]
TranscriptCompleted = RunCompleted[TranscriptResult]

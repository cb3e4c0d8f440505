import base64
from typing import Literal

from pydantic import Field

from schemas.base import Form, Value
from schemas.formats import JSON, Format
from schemas.jobs import JobId, RunName
from schemas.operation import Operation


class SpeakParams(Form):
    text: str = Field(min_length=1, max_length=10_000, description="what is to be said")
    voice: Literal["low", "high"] = "low"
    speed: float = Field(default=1.0, ge=0.25, le=4.0)


class SpeakResult(Value):
    job_id: JobId
    run: RunName
    audio: str = Field(description="a WAV file in base64")
    duration: float = Field(description="seconds")
    sample_rate: int = Field(description="Hz")
    timings: dict[str, float] = Field(description="seconds")


def to_wav(result: SpeakResult) -> bytes:
    return base64.b64decode(result.audio)


SPEAK = Operation(
    name="speak",
    summary="a text read aloud",
    params=SpeakParams,
    result=SpeakResult,
    formats={"json": JSON, "wav": Format("audio/wav", to_wav)},
    example={
        "audio": "UklGRiQAAABXQVZFZm10IBAAAAABAAEAgD4AAAB9AAACABAAZGF0YQAAAAA=",
        "duration": 0.0,
        "sample_rate": 16000,
        "timings": {"queue": 0.01, "total": 0.02},
    },
    topic="speech-results",
    event="speech",
    engine="turnstream_speak.engine:speak_engine",
    audio=False,
)

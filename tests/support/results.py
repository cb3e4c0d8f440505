"""Results of transcriptions and transcripts, as small as a test wants them, and strategies for the stages of a transcript."""

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from schemas.results import TranscriptionResult, TranscriptResult

JOB_ID = "01900000-0000-7000-8000-000000000000"
AUDIO = {"duration": 2.0, "sha256": "0" * 64, "sample_rate": 16000, "channels": 1}
MODEL = {"name": "m", "source": "directory", "mode": "exact", "device": "cpu", "revision": "0"}
DIARIZATION_TIMINGS = dict.fromkeys(
    ["queue", "decode", "load", "segmentation", "embedding", "clustering", "total"], 0.1
)
TRANSCRIPTION_TIMINGS = dict.fromkeys(["queue", "decode", "load", "transcription", "total"], 0.1)

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For properties of what these strategies make: a busy machine is no finding."""


def turn(speaker: str, start: float, end: float) -> dict[str, Any]:
    return {"speaker": speaker, "start": start, "end": end}


def word(text: str, start: float, end: float) -> dict[str, Any]:
    return {"word": text, "start": start, "end": end, "probability": 0.9}


def segment(*words: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """What these words say; or what `fields` say, of words or without."""
    said = {"text": "".join(word["word"] for word in words).strip()}
    times = {"start": min(w["start"] for w in words), "end": max(w["end"] for w in words)} if words else {}
    return {**said, **times, "words": list(words), **fields}


def stages(
    segments: list[dict[str, Any]], turns: list[dict[str, Any]], exclusive: list[dict[str, Any]] | None = None
) -> dict[str, dict[str, Any]]:
    """What both stages of a transcript found."""
    speakers = sorted({turn["speaker"] for turn in turns})
    return {
        "diarize": {
            "segments": turns,
            "exclusive_segments": turns if exclusive is None else exclusive,
            "num_speakers": len(speakers),
            "speakers": speakers,
            "performance": 0.5,
            "timings": DIARIZATION_TIMINGS,
            "warnings": [],
            "audio": AUDIO,
            "model": MODEL,
        },
        "transcribe": {
            "language": "en",
            "language_probability": 0.9,
            "text": " ".join(segment["text"] for segment in segments),
            "segments": segments,
            "performance": 0.25,
            "timings": TRANSCRIPTION_TIMINGS,
            "warnings": [],
            "audio": AUDIO,
            "model": MODEL,
        },
    }


def transcription(*segments: dict[str, Any]) -> TranscriptionResult:
    return TranscriptionResult(job_id=JOB_ID, run="live", **stages(list(segments), [])["transcribe"])


def transcript(*segments: dict[str, Any], turns: list[dict[str, Any]] | None = None) -> TranscriptResult:
    """Of segments that have their speakers."""
    diarized, transcribed = stages(list(segments), turns or []).values()
    fields = transcribed | {name: diarized[name] for name in ("num_speakers", "speakers")}
    models = {"diarize": MODEL, "transcribe": MODEL}
    timings = {"diarize": DIARIZATION_TIMINGS, "transcribe": TRANSCRIPTION_TIMINGS}
    return TranscriptResult(
        job_id=JOB_ID, run="live", **fields | {"turns": turns or [], "models": models, "timings": timings}
    )


def spans(longest: int = 30_000) -> st.SearchStrategy[tuple[float, float]]:
    """Starts and ends in seconds, whole milliseconds; some take no time."""
    start, length = st.integers(0, 400_000_000), st.integers(0, longest)
    near = st.builds(lambda start, length: (start, start + length), st.integers(0, 20_000), length)
    far = st.builds(lambda start, length: (start, start + length), start, length)
    return st.one_of(near, near, far).map(lambda span: (span[0] / 1000, span[1] / 1000))


def turns() -> st.SearchStrategy[list[dict[str, Any]]]:
    one = st.builds(lambda who, span: turn(f"SPEAKER_{who:02}", *span), st.integers(0, 3), spans())
    return st.lists(one, max_size=12)


def segments() -> st.SearchStrategy[list[dict[str, Any]]]:
    """Of any text, with words or without."""
    text = st.text(min_size=1, max_size=12)
    words = st.lists(st.builds(lambda text, span: word(text, *span), text, spans(1500)), min_size=1, max_size=25)
    spoken = words.map(lambda words: segment(*words))
    silent = st.builds(lambda text, span: segment(text=text, start=span[0], end=span[1]), st.text(), spans())
    return st.lists(st.one_of(spoken, silent), max_size=6)

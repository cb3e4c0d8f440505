"""The operations that come with Turnstream."""

from typing import Any

from schemas.formats import DIARIZATION_FORMATS, TRANSCRIPT_FORMATS, TRANSCRIPTION_FORMATS
from schemas.jobs import DiarizeParams, TranscribeParams, TranscriptParams
from schemas.operation import Operation
from schemas.results import DiarizationResult, TranscriptionResult, TranscriptResult
from schemas.topics import Topic

_AUDIO = {"duration": 8.0, "sha256": "e3b0c44298fc1c14...", "sample_rate": 16000, "channels": 1}
_TURNS: list[dict[str, Any]] = [
    {"speaker": "SPEAKER_00", "start": 0.12, "end": 4.56, "confidence": 0.93},
    {"speaker": "SPEAKER_01", "start": 4.4, "end": 7.25, "confidence": 0.88},
]
_STATS: dict[str, Any] = {
    "speaker_stats": [
        {"speaker": "SPEAKER_00", "speaking_time": 4.44, "share": 0.609},
        {"speaker": "SPEAKER_01", "speaking_time": 2.85, "share": 0.391},
    ],
    "overlap_share": 0.022,
}
_WORDS: list[dict[str, Any]] = [
    {"word": " Hello,", "start": 0.2, "end": 0.6, "probability": 0.98},
    {"word": " Anna.", "start": 0.6, "end": 1.1, "probability": 0.95},
    {"word": " Hi.", "start": 4.6, "end": 4.9, "probability": 0.97},
]

_DIARIZATION: dict[str, Any] = {
    "segments": _TURNS,
    "exclusive_segments": [{**_TURNS[0], "end": 4.4}, _TURNS[1]],
    "num_speakers": 2,
    "speakers": ["SPEAKER_00", "SPEAKER_01"],
    **_STATS,
    "performance": 1.25,
    "timings": {
        "queue": 0.01,
        "decode": 0.05,
        "load": 0.0,
        "segmentation": 0.3,
        "embedding": 0.85,
        "clustering": 0.05,
        "total": 1.25,
    },
    "warnings": [],
    "audio": _AUDIO,
    "model": {
        "name": "pyannote/speaker-diarization-community-1",
        "source": "hub",
        "mode": "exact",
        "device": "cpu",
        "revision": "3f2a9c01d4e5",
    },
}
_TRANSCRIPTION: dict[str, Any] = {
    "language": "en",
    "language_probability": 0.99,
    "text": "Hello, Anna. Hi.",
    "segments": [
        {"start": 0.2, "end": 1.1, "text": "Hello, Anna.", "words": _WORDS[:2]},
        {"start": 4.6, "end": 4.9, "text": "Hi.", "words": _WORDS[2:]},
    ],
    "performance": 0.9,
    "timings": {"queue": 0.01, "decode": 0.05, "load": 0.0, "transcription": 0.85, "total": 0.9},
    "warnings": [],
    "audio": _AUDIO,
    "model": {"name": "small", "source": "hub", "mode": "float32", "device": "cpu", "revision": "536b0662742c"},
}
_TRANSCRIPT: dict[str, Any] = {
    "language": "en",
    "language_probability": 0.99,
    "text": "Hello, Anna. Hi.",
    "segments": [
        {
            "speaker": turn["speaker"],
            **segment,
            "words": [{**word, "speaker": turn["speaker"]} for word in segment["words"]],
        }
        for turn, segment in zip(_TURNS, _TRANSCRIPTION["segments"], strict=True)
    ],
    "turns": _TURNS,
    "exclusive_turns": _DIARIZATION["exclusive_segments"],
    "num_speakers": 2,
    "speakers": ["SPEAKER_00", "SPEAKER_01"],
    **_STATS,
    "performance": 2.15,
    "timings": {"diarize": _DIARIZATION["timings"], "transcribe": _TRANSCRIPTION["timings"]},
    "warnings": [],
    "audio": _AUDIO,
    "models": {"diarize": _DIARIZATION["model"], "transcribe": _TRANSCRIPTION["model"]},
}

DIARIZE = Operation(
    name="diarize",
    summary="who spoke when",
    params=DiarizeParams,
    result=DiarizationResult,
    formats=DIARIZATION_FORMATS,
    example=_DIARIZATION,
    topic=Topic.DIARIZATION_RESULTS,
    event="diarization",
    engine="processor.engines.diarize.start:diarize_engine",
)
TRANSCRIBE = Operation(
    name="transcribe",
    summary="what was said",
    params=TranscribeParams,
    result=TranscriptionResult,
    formats=TRANSCRIPTION_FORMATS,
    example=_TRANSCRIPTION,
    topic=Topic.TRANSCRIPTION_RESULTS,
    event="transcription",
    engine="processor.engines.transcribe.start:transcribe_engine",
    check="turnstream.weights.whisper:check",
)
TRANSCRIPT = Operation(
    name="transcript",
    summary="who said what",
    params=TranscriptParams,
    result=TranscriptResult,
    formats=TRANSCRIPT_FORMATS,
    example=_TRANSCRIPT,
    topic=Topic.TRANSCRIPTION_RESULTS,
    event="transcript",
    stages=("diarize", "transcribe"),
    combine="processor.engines.transcript:combine",
    check="turnstream.weights.whisper:check",
)

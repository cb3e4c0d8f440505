"""A result in the formats other tools read, made when it is asked for."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.base import Value
from schemas.results import DiarizationResult, Segment, TranscriptionResult, TranscriptResult
from schemas.subtitles import one_line, said, speaker_of, to_srt, to_vtt


@dataclass(frozen=True, slots=True)
class Format:
    media_type: str
    write: Callable[[Any], str | bytes]


def to_json(result: Value) -> str:
    return result.model_dump_json(exclude_none=True)


def to_rttm(result: DiarizationResult | TranscriptResult) -> str:
    """Rich Transcription Time Marked, one SPEAKER line a turn, the job's id as the file's name. Channels count from 1 there.

    https://web.archive.org/web/20170119114252/http://www.itl.nist.gov/iad/mig/tests/rt/2009/docs/rt09-meeting-eval-plan-v2.pdf
    (appendix A)
    """
    return "".join(f"{_rttm_line(result.job_id, turn)}\n" for turn in _turns(result))


def to_csv(result: DiarizationResult) -> str:
    """A header and one row a turn, as https://www.rfc-editor.org/rfc/rfc4180 has it. A confidence that is not known is empty."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["speaker", "start", "end", "confidence"])
    for turn in result.segments:
        rows.writerow([turn.speaker, f"{turn.start:.3f}", f"{turn.end:.3f}", turn.confidence])
    return text.getvalue()


def to_text(result: TranscriptionResult | TranscriptResult) -> str:
    """One line a segment, after the name of its speaker where the result knows of speakers."""
    return "".join(
        f"{said(segment.text, speaker_of(segment))}\n" for segment in result.segments if one_line(segment.text)
    )


def _turns(result: DiarizationResult | TranscriptResult) -> Sequence[Segment]:
    return result.segments if isinstance(result, DiarizationResult) else result.turns


def _rttm_line(name: str, turn: Segment) -> str:
    channel, length = (turn.channel or 0) + 1, turn.end - turn.start
    return f"SPEAKER {name} {channel} {turn.start:.3f} {length:.3f} <NA> <NA> {_token(turn.speaker)} <NA> <NA>"


def _token(speaker: str) -> str:
    """Spaces separate the fields of a line."""
    return "_".join(speaker.split()) or "<NA>"


JSON = Format("application/json", to_json)
CSV = Format("text/csv", to_csv)
RTTM = Format("text/x-rttm", to_rttm)
SRT = Format("application/x-subrip", to_srt)
VTT = Format("text/vtt", to_vtt)
TEXT = Format("text/plain", to_text)

# By the name in `?format=`.
DIARIZATION_FORMATS: dict[str, Format] = {"json": JSON, "rttm": RTTM, "csv": CSV}
TRANSCRIPTION_FORMATS: dict[str, Format] = {"json": JSON, "srt": SRT, "vtt": VTT, "text": TEXT}
TRANSCRIPT_FORMATS: dict[str, Format] = {"json": JSON, "srt": SRT, "vtt": VTT, "text": TEXT, "rttm": RTTM}

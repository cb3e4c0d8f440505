"""A result in the formats other tools read, made when it is asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from schemas.results import DiarizationResult


@dataclass(frozen=True, slots=True)
class Format:
    media_type: str
    write: Callable[[Any], str | bytes]


def to_json(result: DiarizationResult) -> str:
    return result.model_dump_json(exclude_none=True)


def to_rttm(result: DiarizationResult) -> str:
    """Rich Transcription Time Marked, one SPEAKER line a turn, the job's id as the file's name.

    https://web.archive.org/web/20170119114252/http://www.itl.nist.gov/iad/mig/tests/rt/2009/docs/rt09-meeting-eval-plan-v2.pdf
    (appendix A)
    """
    return "".join(
        f"SPEAKER {result.job_id} 1 {turn.start:.3f} {turn.end - turn.start:.3f} <NA> <NA> {turn.speaker} <NA> <NA>\n"
        for turn in result.segments
    )


DIARIZATION_FORMATS = {"json": Format("application/json", to_json), "rttm": Format("text/x-rttm", to_rttm)}
TRANSCRIPTION_FORMATS = {"json": Format("application/json", to_json)}
TRANSCRIPT_FORMATS = {"json": Format("application/json", to_json)}
"""By the name in `?format=`."""
FORMATS = {name: (known.media_type, known.write) for name, known in DIARIZATION_FORMATS.items()}

"""A result in the formats other tools read, made when it is asked for."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self, TypeVar

from schemas.base import Value
from schemas.errors import InvalidRequest
from schemas.results import DiarizationResult, Segment, SpeakerSegment, TranscriptionResult, TranscriptResult
from schemas.subtitles import one_line, said, speaker_of, to_srt, to_vtt, turns_to_srt, turns_to_vtt
from schemas.turns import Turns, turns_of

Known = TypeVar("Known")
Content = str | bytes


@dataclass(frozen=True, slots=True)
class Format:
    media_type: str
    write: Callable[[Any], Content]
    write_exclusive: Callable[[Any], Content] | None = None
    """The same of the turns in which one speaker talks at a time. None for a format that does not choose between turns."""

    def showing(self, turns: Turns | None) -> Self:
        """The format of these turns; None: as it comes. Raises InvalidRequest where there is nothing to choose."""
        if turns is None:
            return self
        if self.write_exclusive is None:
            raise InvalidRequest(f"{self.media_type} of this operation has nothing to choose by `turns`: leave it out")
        return self if turns is Turns.OVERLAPPING else replace(self, write=self.write_exclusive)


def named(formats: Mapping[str, Known], name: str) -> Known | None:
    """The format that a caller calls so, in any case of letters."""
    name = name.strip().lower()
    return formats.get(OTHER_NAMES.get(name, name))


def to_json(result: Value) -> str:
    return result.model_dump_json(exclude_none=True)


def to_rttm(result: DiarizationResult | TranscriptResult, which: Turns = Turns.OVERLAPPING) -> str:
    """Rich Transcription Time Marked, one SPEAKER line a turn, the job's id as the file's name. Channels count from 1 there.
    A turn whose length rounds to no millisecond is left out: some readers refuse such a line, others pass over it.

    https://web.archive.org/web/20170119114252/http://www.itl.nist.gov/iad/mig/tests/rt/2009/docs/rt09-meeting-eval-plan-v2.pdf
    (appendix A)
    """
    turns = (turn for turn in turns_of(result, which) if round(turn.end - turn.start, 3) > 0)
    return "".join(f"{_rttm_line(result.job_id, turn)}\n" for turn in turns)


def to_csv(result: DiarizationResult, which: Turns = Turns.OVERLAPPING) -> str:
    """A row for each turn. A confidence that is not known is empty."""
    turns = turns_of(result, which)
    return _table(
        ("speaker", "start", "end", "confidence"),
        ((turn.speaker, *_times(turn.start, turn.end), turn.confidence) for turn in turns),
    )


def said_to_csv(result: TranscriptionResult | TranscriptResult) -> str:
    """A row for each segment. The speaker, a column where the result tells of speakers, is empty where nobody is known."""
    segments = [segment for segment in result.segments if one_line(segment.text)]
    rows = [(*_times(segment.start, segment.end), segment.text.strip()) for segment in segments]
    if isinstance(result, TranscriptionResult):
        return _table(("start", "end", "text"), rows)
    speakers = [segment.speaker for segment in segments if isinstance(segment, SpeakerSegment)]
    return _table(("speaker", "start", "end", "text"), ((who, *row) for who, row in zip(speakers, rows, strict=True)))


def to_text(result: TranscriptionResult | TranscriptResult) -> str:
    """One line a segment, after the name of its speaker where the result knows of speakers."""
    return "".join(
        f"{said(segment.text, speaker_of(segment))}\n" for segment in result.segments if one_line(segment.text)
    )


def _table(header: tuple[str, ...], rows: Iterable[Iterable[object]]) -> str:
    """As https://www.rfc-editor.org/rfc/rfc4180 has it: texts as they are, quoted where they have to be."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def _times(start: float, end: float) -> tuple[str, str]:
    return f"{start:.3f}", f"{end:.3f}"


def _rttm_line(name: str, turn: Segment) -> str:
    channel, length = (turn.channel or 0) + 1, turn.end - turn.start
    return f"SPEAKER {name} {channel} {turn.start:.3f} {length:.3f} <NA> <NA> {_token(turn.speaker)} <NA> <NA>"


def _token(speaker: str) -> str:
    """Spaces separate the fields of a line."""
    return "_".join(speaker.split()) or "<NA>"


def _of_turns(media_type: str, write: Callable[..., str]) -> Format:
    return Format(media_type, write, partial(write, which=Turns.EXCLUSIVE))


JSON = Format("application/json", to_json)
RTTM = _of_turns("text/x-rttm", to_rttm)
CSV = _of_turns("text/csv", to_csv)
SAID_CSV = Format("text/csv", said_to_csv)
SRT, TURNS_SRT = Format("application/x-subrip", to_srt), _of_turns("application/x-subrip", turns_to_srt)
VTT, TURNS_VTT = Format("text/vtt", to_vtt), _of_turns("text/vtt", turns_to_vtt)
TEXT = Format("text/plain", to_text)

# By the name in `?format=`.
DIARIZATION_FORMATS: dict[str, Format] = {"json": JSON, "rttm": RTTM, "csv": CSV, "srt": TURNS_SRT, "vtt": TURNS_VTT}
TRANSCRIPTION_FORMATS: dict[str, Format] = {"json": JSON, "srt": SRT, "vtt": VTT, "text": TEXT, "csv": SAID_CSV}
TRANSCRIPT_FORMATS: dict[str, Format] = TRANSCRIPTION_FORMATS | {"rttm": RTTM}
OTHER_NAMES = {"webvtt": "vtt", "txt": "text"}
OTHER_MEDIA_TYPES = {
    **dict.fromkeys(("application/srt", "text/srt", "text/x-srt"), SRT.media_type),
    **dict.fromkeys(("application/rttm", "text/rttm"), RTTM.media_type),
}
"""Neither SubRip nor RTTM has a registered media type: what else callers ask for them by."""

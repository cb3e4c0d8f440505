"""What was said, or who speaks, as cues to be read while it is heard: SubRip (SRT) and WebVTT."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from schemas.results import (
    DiarizationResult,
    Segment,
    SpeakerSegment,
    SpokenSegment,
    TranscriptionResult,
    TranscriptResult,
    Word,
)
from schemas.turns import Turns, turns_of

MAX_WIDTH = 84
"""Characters of a cue: two lines of 42, as broadcasters have them; the player wraps them. A wide East Asian character is two.

https://partnerhelp.netflixstudios.com/hc/en-us/articles/217350977-English-USA-Timed-Text-Style-Guide
"""
MAX_SECONDS = 7.0
"""https://partnerhelp.netflixstudios.com/hc/en-us/articles/215758617-Timed-Text-Style-Guide-General-Requirements"""
LEAST_MS = 100
"""How long a cue is shown that would end when it starts, or before: WebVTT forbids it, and players skip it."""
NOBODY = "?"
"""The name of a speaker who is not known, where a reader would else take the words for those of the speaker before."""
UNSEEN = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")

Spoken = SpokenSegment | SpeakerSegment


@dataclass(frozen=True, slots=True)
class Cue:
    """One line of text, shown from one time to another, in milliseconds; `start` < `end`."""

    start: int
    end: int
    text: str | None
    """None where no words are known: then the speaker's name is shown."""
    speaker: str | None
    """None where the source tells nothing of speakers."""

    @property
    def line(self) -> str:
        """All that there is to read."""
        return (self.speaker or NOBODY) if self.text is None else said(self.text, self.speaker)


def to_srt(result: TranscriptionResult | TranscriptResult) -> str:
    return _srt(cues(result.segments))


def to_vtt(result: TranscriptionResult | TranscriptResult) -> str:
    return _vtt(cues(result.segments))


def turns_to_srt(result: DiarizationResult, which: Turns = Turns.OVERLAPPING) -> str:
    return _srt(turn_cues(turns_of(result, which)))


def turns_to_vtt(result: DiarizationResult, which: Turns = Turns.OVERLAPPING) -> str:
    return _vtt(turn_cues(turns_of(result, which)))


def cues(segments: Sequence[Spoken]) -> list[Cue]:
    """By their start, as WebVTT wants them. A segment too long for one cue is broken between words, if it has any."""
    return sorted((cue for segment in segments for cue in _cues(segment) if cue.text), key=lambda cue: cue.start)


def turn_cues(turns: Sequence[Segment]) -> list[Cue]:
    """By their start; those of speakers who talk at once are shown at once."""
    found = [Cue(*_shown(turn.start, turn.end), None, one_line(turn.speaker) or NOBODY) for turn in turns]
    return sorted(found, key=lambda cue: cue.start)


def said(text: str, speaker: str | None) -> str:
    """In one line, with the speaker before it where the source tells of speakers."""
    return one_line(text if speaker is None else f"{speaker}: {text.strip()}")


def one_line(text: str) -> str:
    """Without control characters and line breaks: an empty line would end a cue."""
    return UNSEEN.sub(" ", text).strip()


def speaker_of(segment: Spoken) -> str | None:
    return (one_line(segment.speaker or "") or NOBODY) if isinstance(segment, SpeakerSegment) else None


def _cues(segment: Spoken) -> Iterator[Cue]:
    speaker = speaker_of(segment)
    if not segment.words or _fits(segment.start, segment.end, _width(segment.text.strip())):
        yield _cue(segment.start, segment.end, segment.text, speaker)
        return
    for words in _runs(segment.words):
        text = "".join(word.word for word in words)
        yield _cue(min(word.start for word in words), max(word.end for word in words), text, speaker)


def _cue(start: float, end: float, text: str, speaker: str | None) -> Cue:
    return Cue(*_shown(start, end), one_line(text), speaker)


def _shown(start: float, end: float) -> tuple[int, int]:
    first, last = max(round(start * 1000), 0), round(end * 1000)
    return first, last if last > first else first + LEAST_MS


def _runs(words: Sequence[Word]) -> Iterator[Sequence[Word]]:
    """As many words as fit, cut after the last mark in the later half of them, where there is one."""
    run: list[Word] = []
    for word in words:
        while run and not _fit_together([*run, word]):
            cut = _cut(run)
            yield run[:cut]
            run = run[cut:]
        run.append(word)
    if run:
        yield run


def _cut(run: Sequence[Word]) -> int:
    later_half = range(len(run), len(run) // 2, -1)
    return next((count for count in later_half if _ends_with_mark(run[count - 1].word)), len(run))


def _ends_with_mark(word: str) -> bool:
    """A full stop, a comma or the like, in any script."""
    return unicodedata.category(word.rstrip()[-1:] or " ") == "Po"


def _fit_together(words: Sequence[Word]) -> bool:
    return _fits(
        min(word.start for word in words),
        max(word.end for word in words),
        _width("".join(word.word for word in words).strip()),
    )


def _fits(start: float, end: float, width: int) -> bool:
    return width <= MAX_WIDTH and end - start <= MAX_SECONDS


def _width(text: str) -> int:
    return len(text) if text.isascii() else sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _srt(cues: Sequence[Cue]) -> str:
    """SubRip has no specification and no way to escape: an arrow inside a text becomes one that no reader takes for a time."""
    return "".join(
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{cue.line.replace('-->', '→')}\n\n"
        for number, cue in enumerate(cues, 1)
    )


def _vtt(cues: Sequence[Cue]) -> str:
    """https://www.w3.org/TR/webvtt1/, a voice span around what a known speaker says. Players show what is in it alone."""
    return "WEBVTT\n" + "".join(
        f"\n{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n"
        f"{_voice(cue)}{_escaped(cue.line if cue.text is None else cue.text)}\n"
        for cue in cues
    )


def _clock(milliseconds: int, point: str) -> str:
    """Hours have two digits at least."""
    seconds, milliseconds = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{milliseconds:03}"


def _voice(cue: Cue) -> str:
    return "" if cue.speaker is None or cue.speaker == NOBODY else f"<v {_escaped(cue.speaker)}>"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

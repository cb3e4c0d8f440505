"""Who spoke when, as RTTM."""

from pathlib import Path
from typing import NamedTuple


class Spoken(NamedTuple):
    """A stretch of one speaker, in seconds."""

    speaker: str
    start: float
    end: float


def to_rttm(turns: list[Spoken], uri: str) -> str:
    """In whole milliseconds."""
    return "".join(
        f"SPEAKER {uri} 1 {start:.3f} {end - start:.3f} <NA> <NA> {speaker} <NA> <NA>\n"
        for speaker, start, end in sorted(turns, key=lambda turn: (turn.start, turn.end, turn.speaker))
    )


def from_rttm(text: str) -> list[Spoken]:
    """Lines that are no SPEAKER lines are passed over."""
    rows = [line.split() for line in text.splitlines()]
    return [Spoken(row[7], float(row[3]), float(row[3]) + float(row[4])) for row in rows if row and row[0] == "SPEAKER"]


def read(path: Path) -> list[Spoken]:
    return from_rttm(path.read_text())

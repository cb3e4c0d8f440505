"""Who said what: the words of a transcription, each with the speaker of a diarization. docs/transcripts.md has the rules."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

from processor.engines.turn_index import TurnIndex

TOLERANCE = 0.5
"""Seconds between a word in no turn and the turn that it may still belong to: a quarter for the edge of the turn, which is
what evaluations of diarization forgive (the collar of NIST's), and as much for the edge of the word."""

Fields = dict[str, Any]


def combine(stages: Mapping[str, Fields]) -> Fields:
    """The fields of a TranscriptResult but `job_id` and `run`, from those of the results of `diarize` and `transcribe`."""
    diarized, transcribed = stages["diarize"], stages["transcribe"]
    turns, exclusive = diarized["segments"], diarized["exclusive_segments"]
    return {
        "language": transcribed["language"],
        "language_probability": transcribed["language_probability"],
        "text": transcribed["text"],
        "segments": with_speakers(transcribed["segments"], turns, exclusive),
        "turns": turns,
        "exclusive_turns": exclusive,
        "num_speakers": diarized["num_speakers"],
        "speakers": diarized["speakers"],
        "speaker_stats": diarized.get("speaker_stats", []),
        "overlap_share": diarized.get("overlap_share", 0.0),
        "performance": round(sum(fields["performance"] for fields in stages.values()), 3),
        "timings": {name: fields["timings"] for name, fields in stages.items()},
        "warnings": list(dict.fromkeys(code for fields in stages.values() for code in fields.get("warnings", ()))),
        "audio": transcribed["audio"],
        "models": {name: fields["model"] for name, fields in stages.items()},
    }


def with_speakers(segments: Sequence[Fields], turns: Sequence[Fields], exclusive: Sequence[Fields]) -> list[Fields]:
    """The fields of SpeakerSegments from those of SpokenSegments, of turns, and of turns of which none overlap."""
    spoken = [word for segment in segments for word in segment.get("words") or [segment]]
    index, alone = _index(turns), _index(exclusive)
    speakers = iter(_settled([_claimants(*_span(word), index, alone) for word in spoken]))
    return [part for segment in segments for part in _parts(segment, speakers)]


def _index(turns: Sequence[Fields]) -> TurnIndex:
    return TurnIndex((_ticks(turn["start"]), _ticks(turn["end"]), turn["speaker"]) for turn in turns)


def _span(spoken: Fields) -> tuple[int, int]:
    """In microseconds, and one long at least: a word that takes no time lies in the turn that it starts in."""
    start = _ticks(spoken["start"])
    return start, max(_ticks(spoken["end"]), start + 1)


def _ticks(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _claimants(start: int, end: int, turns: TurnIndex, exclusive: TurnIndex) -> set[str]:
    """Whose the span may be by its time: one speaker as a rule, several who have equal claims, or nobody."""
    best = _largest(turns.shares(start, end)) or turns.nearest(start, end, _ticks(TOLERANCE))
    if len(best) <= 1:
        return best
    alone = exclusive.shares(start, end)
    return _largest({speaker: alone[speaker] for speaker in best & alone.keys()}) or best


def _largest(shares: Mapping[str, int]) -> set[str]:
    largest = max(shares.values(), default=0)
    return {speaker for speaker, share in shares.items() if share == largest}


def _settled(claims: Sequence[set[str]]) -> Iterator[str | None]:
    """One speaker for each: where several have equal claims the one who spoke last, else who speaks next, else the first
    by name."""
    following: list[str | None] = [None] * len(claims)
    for index in range(len(claims) - 1, 0, -1):
        following[index - 1] = next(iter(claims[index])) if len(claims[index]) == 1 else following[index]
    previous: str | None = None
    for claimants, after in zip(claims, following, strict=True):
        near = next((speaker for speaker in (previous, after) if speaker in claimants), None)
        speaker = near or min(claimants, default=None)
        previous = speaker or previous
        yield speaker


def _parts(segment: Fields, speakers: Iterator[str | None]) -> Iterator[Fields]:
    """The segment, cut where the speaker changes. Takes as many speakers as it has words, or one where it has none."""
    spoken = segment.get("words") or []
    if not spoken:
        yield _part(next(speakers), segment, [])
        return
    words = [{**word, "speaker": speaker} for word, speaker in zip(spoken, islice(speakers, len(spoken)), strict=True)]
    runs = [(speaker, list(run)) for speaker, run in groupby(words, key=itemgetter("speaker"))]
    for speaker, run in runs:
        yield _part(speaker, segment if len(runs) == 1 else _stretch(run), run)


def _stretch(words: Sequence[Fields]) -> Fields:
    """What a run of words says, and when. Words carry the spaces around them, in languages that have any."""
    return {
        "start": min(word["start"] for word in words),
        "end": max(word["end"] for word in words),
        "text": "".join(word["word"] for word in words).strip(),
    }


def _part(speaker: str | None, said: Fields, words: Sequence[Fields]) -> Fields:
    return {"speaker": speaker, "start": said["start"], "end": said["end"], "text": said["text"], "words": words}

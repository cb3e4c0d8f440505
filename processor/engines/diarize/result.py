"""From the turns of each track to the fields of a result."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from processor.engines.diarize.clustering import Turn, Turns

Fields = dict[str, Any]


def found(tracks: Sequence[Turns], *, embeddings: bool) -> Fields:
    """What a DiarizationResult says of speakers. Several tracks are the channels of a recording, in their order."""
    apart = len(tracks) > 1
    named = [(channel if apart else None, turns) for channel, turns in enumerate(tracks)]
    segments = _segments((channel, turn) for channel, turns in named for turn in turns.turns)
    stats = [stats for channel, turns in named for stats in _stats(channel, turns, embeddings=embeddings)]
    spoken = sum(each["speaking_time"] for each in stats)
    for each in stats:
        each["share"] = round(each["speaking_time"] / spoken, 6) if spoken else 0.0
    return {
        "segments": segments,
        "exclusive_segments": _segments((channel, turn) for channel, turns in named for turn in turns.exclusive),
        "num_speakers": len(stats),
        "speakers": [each["speaker"] for each in stats],
        "speaker_stats": stats,
        "overlap_share": overlap_share([(segment["start"], segment["end"]) for segment in segments]),
    }


def _name(channel: int | None, speaker: str) -> str:
    return speaker if channel is None else f"CHANNEL_{channel}_{speaker}"


def _segments(turns: Iterable[tuple[int | None, Turn]]) -> list[Fields]:
    segments = [
        {
            "speaker": _name(channel, turn.speaker),
            "start": turn.start,
            "end": turn.end,
            "confidence": None if turn.confidence is None else round(turn.confidence, 4),
            "channel": channel,
        }
        for channel, turn in turns
    ]
    return sorted(segments, key=lambda segment: segment["start"])  # in the order of the tracks where that is the same


def _stats(channel: int | None, turns: Turns, *, embeddings: bool) -> Iterable[Fields]:
    times: Counter[str] = Counter()
    for turn in turns.turns:
        times[turn.speaker] += turn.end - turn.start  # pyright: ignore[reportArgumentType]  - a Counter counts floats, too
    for row, speaker in enumerate(turns.speakers):
        vector = turns.embeddings[row] if embeddings and turns.embeddings is not None else None
        yield {
            "speaker": _name(channel, speaker),
            "speaking_time": round(times[speaker], 6),
            "channel": channel,
            "embedding": None if vector is None or not np.isfinite(vector).all() else vector.tolist(),
        }


def overlap_share(spans: Iterable[tuple[float, float]]) -> float:
    """The time in which several spans lie, of the time in which any does; 0 where there is none."""
    changes: Counter[float] = Counter()
    for start, end in spans:
        changes[start] += 1
        changes[end] -= 1
    anybody = several = 0.0
    speaking = 0
    for now, following in pairwise(sorted(changes)):
        speaking += changes[now]
        anybody += (following - now) * (speaking > 0)
        several += (following - now) * (speaking > 1)
    return round(several / anybody, 6) if anybody else 0.0

"""Frames become turns."""

from typing import Any

import numpy as np
import numpy.typing as npt
from pyannote.core import Annotation, Segment, SlidingWindow
from pyannote.core.utils.generators import string_generator

from processor.engines.diarize.clustering import Turn
from processor.engines.diarize.reconstruction import Timeline

Bits = npt.NDArray[np.bool_]


def annotation(active: Bits, frames: SlidingWindow, min_on: float, min_off: float) -> Annotation:
    """What upstream's `Binarize` makes of (frames, speakers), without its loop over frames. Labels are columns.

    Gaps of one speaker shorter than `min_off` seconds are filled, then turns shorter than `min_on` are dropped.
    """
    middles = _middles(frames, len(active))
    found: Any = Annotation()
    tracks = string_generator()
    for label, column in enumerate(active.T):
        track = next(tracks)
        for start, end in _runs(column):
            # A turn ends in the middle of the first frame without it; at the end of the recording, of the last one.
            found[Segment(middles[start], middles[min(end, len(middles) - 1)]), track] = label
    if min_off > 0:
        found = found.support(collar=min_off)
    if min_on > 0:
        for segment, track in list(found.itertracks()):
            if segment.duration < min_on:
                del found[segment, track]
    return found


def turns(found: Any, names: dict[Any, str], timeline: Timeline) -> list[Turn]:
    """By their starts; `names` are those of the labels, which are the timeline's columns."""
    middles = _middles(timeline.frames, len(timeline.support))
    # Rounding to microseconds takes the float noise of frame times away and nothing else: a frame is 17 ms.
    return [
        Turn(
            names[label],
            round(float(turn.start), 6),
            round(float(turn.end), 6),
            round(float(timeline.support[_between(middles, turn), label].mean()) / 255, 3),
        )
        for turn, _, label in found.itertracks(yield_label=True)
    ]


def _between(middles: npt.NDArray[np.float64], turn: Segment) -> slice:
    start, end = np.searchsorted(middles, (turn.start, turn.end))
    return slice(int(start), max(int(end), int(start) + 1))


def _middles(frames: SlidingWindow, count: int) -> npt.NDArray[np.float64]:
    """Where upstream's segment of each frame has its middle, to the last bit."""
    starts = frames.start + np.arange(count) * frames.step
    return 0.5 * (starts + (starts + frames.duration))


def _runs(column: Bits) -> list[tuple[int, int]]:
    """First frame, and the one after the last."""
    edges = np.flatnonzero(np.diff(column, prepend=False, append=False))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))

"""A recording cut into stretches that Whisper takes whole: at most 30 seconds, from pause to pause.

Each is transcribed by itself, so what is found in one depends on its samples alone: not on what came before, not on other
jobs, and not on whether the job was parked in between.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from faster_whisper.vad import VadOptions, get_speech_timestamps

from processor.audio import SAMPLE_RATE, Sound
from schemas.errors import JobCancelled


class Span(NamedTuple):
    """From one sample to before another."""

    start: int
    end: int


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


WINDOW = _samples(30)
"""What Whisper hears at once."""
PAD = _samples(0.4)
"""What is heard around speech: its detector is late at the beginning and early at the end."""
LIMIT = WINDOW - 2 * PAD
LONG_PAUSE = _samples(4)
"""No stretch goes on beyond it: left alone with silence or music for long, Whisper makes words up."""
LEAST_SILENCE = _samples(1)
"""What the detector holds for silence is worth hearing, where that is asked for, if it lasts so long."""
BLOCK = _samples(600)
"""Speech is looked for in blocks, so that memory does not grow with the recording."""
OPTIONS = VadOptions(
    min_speech_duration_ms=100,
    max_speech_duration_s=LIMIT / SAMPLE_RATE,
    min_silence_duration_ms=100,
    speech_pad_ms=0,
)


def stretches(samples: Sound, vad: bool, cancelled: Callable[[], bool]) -> list[Span]:
    """Those with speech, or all where `vad` is off. Takes some 2 ms for each second. Raises JobCancelled."""
    found = padded(packed(list(speech(samples, cancelled))), len(samples))
    return found if vad else sorted([*found, *silences(found, len(samples))])


def speech(samples: Sound, cancelled: Callable[[], bool] = lambda: False) -> Iterator[Span]:
    """Where Silero's detector hears speech without a pause of 0.1 s, cut where that lasts longer than LIMIT."""
    start = 0
    while start < len(samples):
        if cancelled():
            raise JobCancelled()
        block = samples[start : start + BLOCK]
        found = [Span(start + span["start"], start + span["end"]) for span in get_speech_timestamps(block, OPTIONS)]
        end = start + len(block)
        if end < len(samples) and found and found[-1].end == end:
            end = found.pop().start  # it may go on: the next block begins with it
        yield from found
        start = end


def packed(spans: Sequence[Span]) -> list[Span]:
    """Neighbours joined as long as LIMIT allows. Where it does not, the cut is at the longest pause of the last third."""
    joined: list[Span] = []
    first = 0
    while first < len(spans):
        start, after = spans[first].start, first + 1
        while after < len(spans) and _pause(spans, after) < LONG_PAUSE and spans[after].end - start <= LIMIT:
            after += 1
        if after < len(spans) and _pause(spans, after) < LONG_PAUSE:
            late = [cut for cut in range(first + 1, after + 1) if spans[cut - 1].end - start >= LIMIT * 2 // 3]
            after = max(late, key=lambda cut: (_pause(spans, cut), cut), default=after)
        joined.append(Span(start, spans[after - 1].end))
        first = after
    return joined


def _pause(spans: Sequence[Span], index: int) -> int:
    """Before the span of that index."""
    return spans[index].start - spans[index - 1].end


def padded(spans: Sequence[Span], length: int) -> list[Span]:
    """With PAD on both sides, or up to the middle of a shorter pause."""
    middles = [(left.end + right.start) // 2 for left, right in pairwise(spans)]
    return [
        Span(max(span.start - PAD, low), min(span.end + PAD, high))
        for span, low, high in zip(spans, [0, *middles], [*middles, length], strict=False)
    ]


def silences(spans: Sequence[Span], length: int) -> Iterator[Span]:
    """What lies between `spans`, a window at a time."""
    for left, right in pairwise([Span(0, 0), *spans, Span(length, length)]):
        if right.start - left.end >= LEAST_SILENCE:
            for start in range(left.end, right.start, WINDOW):
                yield Span(start, min(start + WINDOW, right.start))

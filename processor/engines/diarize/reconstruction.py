"""From windows to the recording: who speaks in each of its frames."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pyannote.core import SlidingWindow, SlidingWindowFeature

_WINDOWS = 512
"""Windows that are added up at once."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Timeline:
    """Of each frame of a recording, and each speaker: (frames, speakers)."""

    active: npt.NDArray[np.bool_]
    exclusive: npt.NDArray[np.bool_]
    """One speaker at a time. There may be fewer columns."""
    support: npt.NDArray[np.uint8]
    """How much speaks for this speaker here, of 255."""
    frames: SlidingWindow


def reconstruct(
    activity: SlidingWindowFeature, assigned: Array, clarity: Array, count: SlidingWindowFeature
) -> Timeline:
    """The `count` speakers of each frame that most windows see there, as upstream's `reconstruct` chooses them.

    `assigned` is each window's speakers' cluster (negative: none), `clarity` in 0..1 how sure that is, both
    (windows, speakers). Of all frames there are only bits and bytes at once, of some windows' numbers.
    """
    clusters = int(assigned.max()) + 1
    shape = len(count.data), max(clusters, int(count.data.max()))
    active, exclusive = np.zeros(shape, dtype=np.bool_), np.zeros((shape[0], clusters), dtype=np.bool_)
    support = np.zeros(shape, dtype=np.uint8)
    for start, votes, weights, windows in _added_up(activity, assigned, clarity, clusters, count.sliding_window):
        block = slice(start, start + len(votes))
        _choose(exclusive[block], votes, np.minimum(count.data[block], 1))
        # More at once than there are clusters: upstream invents speakers of whom nothing is known.
        _choose(active[block], np.pad(votes, ((0, 0), (0, shape[1] - clusters))), count.data[block])
        share = weights / np.maximum(windows[:, None], 1)
        support[block, :clusters] = np.rint(255 * np.minimum(share, 1))
    return Timeline(active, exclusive, support, count.sliding_window)


def _choose(chosen: Array, votes: Array, count: Array) -> None:
    """Mark the `count` columns of most votes. Of ties, numpy's own order of float32 decides, as it does upstream."""
    order = np.argsort(-votes, axis=-1)
    np.put_along_axis(chosen, order, np.arange(votes.shape[1]) < count, axis=-1)


def _added_up(
    activity: SlidingWindowFeature, assigned: Array, clarity: Array, clusters: int, frames: SlidingWindow
) -> Iterator[tuple[int, Array, Array, Array]]:
    """The frames in pieces: the first one's index, how many windows see each cluster there, the same weighted by clarity
    (both (frames, clusters)), and how many windows there are (frames)."""
    data, size = activity.data, activity.data.shape[1]
    starts = [
        frames.closest_frame(activity.sliding_window[index].start + 0.5 * frames.duration) for index in range(len(data))
    ]
    for first in range(0, len(data), _WINDOWS):
        last = min(first + _WINDOWS, len(data))
        begin = starts[first]
        end = starts[last] if last < len(data) else starts[-1] + size
        length = starts[last - 1] + size - begin
        votes = np.zeros((max(length, end - begin), clusters), dtype=np.float32)
        weights, windows = np.zeros_like(votes), np.zeros(len(votes), dtype=np.float32)
        reach = first
        while reach and starts[reach - 1] + size > begin:
            reach -= 1
        for index in range(reach, last):
            place = starts[index] - begin
            seen = slice(max(-place, 0), size)
            target = slice(max(place, 0), place + size)
            windows[target] += 1
            for cluster in np.unique(assigned[index]):
                if cluster >= 0:
                    own = assigned[index] == cluster
                    speaks = data[index, seen][:, own]
                    votes[target, cluster] += speaks.max(axis=1)
                    weights[target, cluster] += (speaks * clarity[index, own]).max(axis=1)
        length = end - begin
        yield begin, votes[:length], weights[:length], windows[:length]

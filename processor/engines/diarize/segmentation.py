"""The first network: who of a window's few speakers is active in each of its frames."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from processor.engines.diarize.cores import one_core
from processor.engines.diarize.passes import Passes
from processor.engines.diarize.transfer import to_device
from processor.engines.diarize.tuning import Tuning
from processor.engines.diarize.windows import Samples, batch

NEAR_TIE = 1e-4
"""Log probabilities that are closer than that may come in another order elsewhere: float sums depend on the shape of a pass."""

Activity = npt.NDArray[np.uint8]


class Segmenter(Passes):
    """Passes of fixed shape through the segmentation network of `inference`, a pyannote.audio.Inference.

    The last pass of a recording is padded, so that the activity found in a window does not depend on its neighbours.
    """

    def __init__(self, inference: Any, tuning: Tuning) -> None:
        super().__init__(tuning.segmentation_room)
        self._inference = inference
        self._network = inference.model
        self._rows = tuning.segmentation_rows
        self._lanes = _Lanes(tuning.lanes) if tuning.lanes > 1 else None
        self.size: int = self._network.audio.get_num_samples(inference.duration)
        self.step: int = round(inference.step * self._network.audio.sample_rate)
        self.frames: int = self._network.num_frames(self.size)
        self.speakers: int = len(self._network.specifications.classes)

    def halve(self) -> bool:
        """First there are fewer passes beside each other, which keeps their shape."""
        less = super().halve()
        self._rows = min(self._rows, self.room)
        return less

    def __call__(self, windows: Sequence[Samples]) -> tuple[Activity, npt.NDArray[np.int64]]:
        """Of `room` windows at most: activity, 0 or 1, as (windows, frames, speakers); and the number of frames in each
        window whose two best classes are a NEAR_TIE."""
        passes = [windows[start : start + self._rows] for start in range(0, len(windows), self._rows)]
        found = self._lanes.map(self._pass, passes) if self._lanes is not None else map(self._pass, passes)
        activity, ties = zip(*found, strict=True)
        return np.concatenate(activity), np.concatenate(ties)

    def _pass(self, windows: Sequence[Samples]) -> tuple[Activity, npt.NDArray[np.int64]]:
        array = batch(windows, self._rows, self.size)
        with torch.inference_mode():
            scores = self._network(to_device(array, self._inference.device))
            best = scores.topk(2, dim=-1).values
            ties = (best[..., 0] - best[..., 1] < NEAR_TIE).sum(dim=1)
            activity = self._inference.conversion(scores).to(torch.uint8)
        return activity.cpu().numpy()[: len(windows)], ties.cpu().numpy()[: len(windows)]


class _Lanes:
    """Threads in each of which torch uses one core."""

    def __init__(self, count: int) -> None:
        with one_core():
            self._threads = ThreadPoolExecutor(count, "segmentation", partial(torch.set_num_threads, 1))

    def map(self, work: Any, passes: Sequence[Any]) -> list[Any]:
        with one_core():
            return list(self._threads.map(work, passes))

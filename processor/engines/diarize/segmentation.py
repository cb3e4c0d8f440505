"""The first network: who of a window's few speakers is active in each of its frames."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from processor.engines.diarize.windows import Samples, batch

WINDOWS_A_PASS = 8
"""Every pass has this shape, the last one padded, so that the activity found in a window does not depend on its neighbours."""


class Segmenter:
    """Passes of fixed shape through the segmentation network of `inference`, a pyannote.audio.Inference."""

    def __init__(self, inference: Any) -> None:
        self._inference = inference
        self._network = inference.model
        self.size: int = self._network.audio.get_num_samples(inference.duration)
        self.step: int = round(inference.step * self._network.audio.sample_rate)
        self.frames: int = self._network.num_frames(self.size)
        self.speakers: int = len(self._network.specifications.classes)

    def __call__(self, windows: Sequence[Samples]) -> npt.NDArray[np.float32]:
        """Activity, 0 or 1, as an array of shape (windows, frames, speakers), of WINDOWS_A_PASS windows at most."""
        waveforms = torch.from_numpy(batch(windows, WINDOWS_A_PASS, self.size)).to(self._inference.device)
        with torch.inference_mode(), _one_thread():
            activity = self._inference.conversion(self._network(waveforms))
        return activity.cpu().numpy()[: len(windows)]


@contextmanager
def _one_thread() -> Generator[None]:
    """On a CPU this network is a chain of a thousand small steps: threads would wait for each other more than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

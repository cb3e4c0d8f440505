"""Fixtures of the end-to-end tests."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="session")
def stock_pipeline() -> Callable[[np.ndarray], Any]:
    """pyannote.audio as it ships, on the weights that the service uses, given a mono waveform at 16 kHz."""
    import warnings

    from turnstream.settings import Settings
    from turnstream.weights import resolve

    weights = resolve(Settings())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyannote's own, about codecs that are not used
        import torch
        from pyannote.audio import Pipeline

        pipeline = Pipeline.from_pretrained(weights.path)

    def diarize(waveform: np.ndarray) -> Any:
        file = {"waveform": torch.from_numpy(waveform)[None], "sample_rate": 16_000, "uri": "stock"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pipeline(file)

    return diarize

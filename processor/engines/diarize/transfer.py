"""Arrays on their way to a device."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch


def to_device(array: npt.NDArray[np.float32], device: Any) -> torch.Tensor:
    """A GPU fetches from pinned memory by itself, while this thread prepares what follows."""
    tensor = torch.from_numpy(array)
    if torch.device(device).type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)

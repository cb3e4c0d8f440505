"""How much a pass of each network takes on, by device.

Shapes are fixed for a device, whatever the number of its cores: what a network says of a window depends on nothing else.
"""

import os
from dataclasses import dataclass

import torch

from turnstream.shares import cores


@dataclass(frozen=True, slots=True)
class Tuning:
    """Passes of one kind of device. docs/benchmarks/engine.md has what the choices gain."""

    segmentation_rows: int
    """Windows that the segmentation network sees at once."""
    embedding_rows: int
    """Windows, or blocks, that the embedding network sees at once."""
    lanes: int = 1
    """Segmentation passes that run beside each other, each on a core of its own."""
    layout: torch.memory_format = torch.channels_last
    """Of the images in the embedding network; the values are the same."""

    @property
    def segmentation_room(self) -> int:
        return self.segmentation_rows * self.lanes


def tuning(device: str) -> Tuning:
    """On a CPU, the segmentation network is a chain of a thousand small steps, in which threads wait for each other more
    than they work: a pass for each core does twice as much. The embedding network fills all cores by itself; a window
    costs it the same in passes of one to eight, and two keep a step well below half a second.

    On an H100, segmentation is bound by the length of that chain, up to some hundred windows at once; the embedding
    network fills the device with 32 windows, and 64 cost it twice as much each. Not measured on Apple's MPS.
    """
    if device == "cpu":
        return Tuning(segmentation_rows=4, embedding_rows=2, lanes=cores(os.environ))
    return Tuning(segmentation_rows=128, embedding_rows=32, layout=torch.contiguous_format)

"""Fast: the embedding network sees every second of a recording about once, and not in ten windows.

All but the pooling at the end of the network looks at a second of sound or so around each frame. Frames are therefore computed
once, in blocks, and pooled for each window that sees them. What is lost is that a window's filter banks are centred by
the window's own mean; docs/decisions/0012-fast-mode.md has what that changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from processor.engines.diarize.analysis import Analysis
from processor.engines.diarize.blocks import BANKS, FRAME, HOP, LENGTH, OVERHANG, Blocks
from processor.engines.diarize.embedding import Masks
from processor.engines.diarize.passes import Passes
from processor.engines.diarize.pieces import Array, Embedding, Piece
from processor.engines.diarize.transfer import to_device
from processor.engines.diarize.tuning import Tuning
from processor.engines.diarize.voice import VoiceNetwork
from processor.engines.diarize.windows import Windows
from schemas.jobs import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Block(Piece):
    """`samples` are those of the block and of a window's length to each side, as far as there are any; `masks` are those of
    all speakers of all windows that end with it, over the frames that the last block left and its own."""

    lead: int
    """Frames that are missing before `samples`: the recording begins."""
    used: slice
    """Of its frames."""
    tails: dict[int, Tensor]
    """By block, the frames that it leaves to the next: as many as a window has. To be added to."""


class SharedEmbedding(Embedding):
    """A piece is a block in which somebody speaks. Windows get their vectors with the last block they need."""

    mode = Mode.FAST

    def __init__(self, windows: Windows, analysis: Analysis, masks: Masks) -> None:
        self._windows, self._analysis, self._masks = windows, analysis, masks
        self._blocks = Blocks.over(len(windows.samples))
        spoken = np.flatnonzero(analysis.activity.any(axis=(1, 2)))
        first, last = self._needs(spoken)
        heard = np.zeros(len(self._blocks.starts) + 1, dtype=np.int64)
        np.add.at(heard, first, 1)
        np.add.at(heard, last + 1, -1)
        super().__init__(int(block) for block in np.flatnonzero(np.cumsum(heard)[:-1]))
        order = np.argsort(last, kind="stable")
        self._ends = np.searchsorted(last[order], np.arange(len(heard)))
        self._by_end = spoken[order]
        self._tails: dict[int, Tensor] = {}
        self.pays = self._count * LENGTH * FRAME < len(spoken) * windows.size
        """Whether there is less for the network to see than in windows; short recordings are computed exactly sooner."""

    def _needs(self, spoken: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The first and the last block in which somebody speaks of each of these windows."""
        active: npt.NDArray[np.bool_] = np.max(self._analysis.activity, axis=2)[spoken] > 0
        frames = active.shape[1]
        begin, end = active.argmax(axis=1), frames - active[:, ::-1].argmax(axis=1)
        start, size, most = spoken * self._windows.step, self._windows.size, max(0, self._blocks.frames - 1)
        first = (start + begin * size // frames) // FRAME
        last = (start + -(-end * size // frames)) // FRAME
        return self._blocks.at(np.minimum(first, most)), self._blocks.at(np.minimum(last, most))

    def pieces(self, room: int) -> list[Piece]:
        return [self._block(index) for index in islice(self._waiting, room)]

    def _block(self, index: int) -> Block:
        start, low, high = int(self._blocks.starts[index]), *(int(b) for b in self._blocks.bounds[index : index + 2])
        reach = self._windows.size // FRAME
        lead = max(0, reach - start)
        samples = slice((start - reach + lead) * FRAME, (start + LENGTH + reach) * FRAME + OVERHANG)
        speakers = self._analysis.activity.shape[2]
        own = self._own(index)
        masks = np.zeros((len(own), speakers, reach + high - low), dtype=np.float32)
        for row, window in zip(masks, own, strict=True):
            self._place(row, int(window), low - reach)
        return Block(
            index=index,
            samples=self._windows.samples[samples],
            masks=masks.reshape(-1, masks.shape[-1]),
            lead=lead,
            used=slice(low - start, high - start),
            tails=self._tails,
        )

    def _own(self, index: int) -> npt.NDArray[np.int64]:
        """The windows that get their vectors with this block."""
        return self._by_end[self._ends[index] : self._ends[index + 1]]

    def _place(self, row: Array, window: int, origin: int) -> None:
        """Write a window's masks into `row`, (speakers, frames), whose first frame is the recording's `origin`."""
        masks = self._masks(self._analysis.activity[window])
        start, size = window * self._windows.step, self._windows.size
        frames = np.arange(-(-start // FRAME), -(-(start + size) // FRAME))
        there = (frames >= origin) & (frames < origin + row.shape[1])
        row[:, frames[there] - origin] = masks[:, (frames[there] * FRAME - start) * masks.shape[1] // size]

    def take(self, index: int, value: Array) -> None:
        own, activity, vectors = self._own(index), self._analysis.activity, self._analysis.vectors
        speaking = activity[own].max(axis=1) > 0
        found = value.reshape(*speaking.shape, vectors.shape[2])
        vectors[own] = np.where(speaking[..., None], found, vectors[own])
        self._waiting.popleft()
        for older in [block for block in self._tails if block < index or not self._waiting]:
            del self._tails[older]


class SharedEmbedder(Passes):
    """Passes of fixed shape through the embedding network; pooling as there is something to pool."""

    def __init__(self, network: VoiceNetwork, tuning: Tuning, *, size: int, autocast: bool = False) -> None:
        """`size`: samples of a window. `autocast`: convolutions in bfloat16, on CUDA only."""
        super().__init__(max(1, tuning.embedding_rows * size // (LENGTH * FRAME)))
        self._network, self._autocast = network, autocast
        self._reach = size // FRAME

    def __call__(self, pieces: Sequence[Piece]) -> list[Array]:
        """For each Block, in their order, vectors as (windows * speakers, dimension) of the windows that end with it."""
        blocks = [piece for piece in pieces if isinstance(piece, Block)]
        with torch.inference_mode():
            frames = self._frames(blocks)
            vectors = [self._vectors(block, row) for block, row in zip(blocks, frames, strict=False)]
            counts = np.cumsum([len(some) for some in vectors])
            together = torch.cat(vectors).cpu().numpy()
        return np.split(together, counts[:-1])

    def _frames(self, blocks: Sequence[Block]) -> Tensor:
        """(room, features, LENGTH)"""
        length = LENGTH + 2 * self._reach
        samples = np.zeros((self.room, 1, length * FRAME + OVERHANG), dtype=np.float32)
        heard = np.zeros((self.room, length * BANKS), dtype=np.float32)
        for block, sound, ear in zip(blocks, samples, heard, strict=False):
            begin, end = block.lead * FRAME, block.lead * FRAME + len(block.samples)
            sound[0, begin:end] = block.samples
            ear[begin // HOP : max(end - OVERHANG, begin + 1) // HOP + 1] = 1
        device = self._network.device
        banks = self._network.filter_banks(to_device(samples, device))
        level = centred(banks, to_device(heard, device), self._reach)
        with torch.autocast("cuda", torch.bfloat16, enabled=self._autocast and torch.device(device).type == "cuda"):
            return self._network.frames(level[:, self._reach * BANKS : -self._reach * BANKS]).float()

    def _vectors(self, block: Block, frames: Tensor) -> Tensor:
        tail = block.tails.get(block.index - 1)
        if tail is None:
            tail = frames.new_zeros(len(frames), self._reach)
        strip = torch.cat([tail.to(frames.device), frames[:, block.used]], dim=1)  # the model may have moved meanwhile
        block.tails[block.index] = strip[:, -self._reach :].clone()
        assert block.masks is not None  # noqa: S101 - that of a Block is
        if not len(block.masks):
            return frames.new_zeros(0, self._network.dimension)
        masks = to_device(block.masks, self._network.device)
        return self._network.vectors(strip[None], masks[None])[0]


def centred(banks: Tensor, heard: Tensor, reach: int) -> Tensor:
    """Filter banks, (batch, time, mels), less what the mean of the windows around each frame would be, on average: the
    mean of running means over `reach` frames. Where nothing is `heard`, (batch, time) of zeros and ones, they count
    for nothing and become zero, which is what the network's own padding is.
    """
    batch, _, mels = banks.shape
    weights = heard.reshape(batch, 1, -1, BANKS).sum(dim=3)
    sums = (banks * heard[..., None]).reshape(batch, -1, BANKS, mels).sum(dim=2).transpose(1, 2)
    mean = _running(sums, reach) / _running(weights, reach).clamp(min=1e-6)
    mean = _running(mean * weights, reach) / _running(weights, reach).clamp(min=1e-6)
    around = mean.transpose(1, 2).repeat_interleave(BANKS, dim=1)
    return (banks - around) * heard[..., None]


def _running(values: Tensor, reach: int) -> Tensor:
    width = reach | 1  # odd, so that there is a frame in the middle
    return F.avg_pool1d(values, width, stride=1, padding=width // 2)
